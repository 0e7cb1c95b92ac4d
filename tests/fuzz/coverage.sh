#!/bin/bash
# coverage.sh SRC BUILD [FILE]: builds the fuzz targets anew, with counters, in the folder BUILD, replays their inputs, and
# says how much of each parser they reached (coverage.py)
set -u
src=$1 build=$2
shift 2
mkdir -p "$build" && cd "$build" || exit 1
mapfile -t targets < <(cd "$src" && printf '%s\n' tests/fuzz/*_fuzz.c | sed 's/\.c$//')

build_targets() {
    [ config.status -nt "$src/configure" ] ||
        "$src/configure" --quiet --disable-maintainer-mode CFLAGS='-O0 -g --coverage' || return 1
    make -s -j"$(nproc)" "${targets[@]}"
}

build_targets >build.log 2>&1 || {
    tail -n 20 build.log
    exit 1
}
find . -name '*.gcda' -delete
for target in "${targets[@]}"; do
    srcdir=$src "./$target" >replay.log || {
        cat replay.log
        exit 1
    }
done
exec python3 "$src/tests/fuzz/coverage.py" "$src/tests/fuzz/parsers" "$build" "$@"
