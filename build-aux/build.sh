# shellcheck shell=bash
# build.sh - build outside the sources, for quickstart and check
#
# The sources are copied to build/src first: running as root leaves no file of root's
# in a user's checkout but below build/.

BUILD_FLAGS=(--prefix=/opt/virtid --sysconfdir=/etc --localstatedir=/var --runstatedir=/run
    --disable-maintainer-mode --quiet)

# build_copy TOP: brings TOP/build/src up to date and makes its configure.
build_copy() {
    local top=$1 src=$1/build/src

    mkdir -p "$src"
    # Files that are gone from the sources are gone from the copy.
    (cd "$src" && find . -name '*.[ch]' -o -name '*.am' -o -path './tests/*' -type f) | while IFS= read -r file; do
        [ -e "$top/$file" ] || rm -f "$src/$file"
    done
    tar -C "$top" -cf - --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.lo' \
        --exclude='.libs' --exclude='.deps' --exclude=autom4te.cache --exclude=./configure \
        --exclude=./aclocal.m4 --exclude='Makefile.in' --exclude=./Makefile --exclude='./config.*' \
        --exclude=./libtool --exclude=./stamp-h1 --exclude='*.trs' --exclude='*.log' . |
        tar -C "$src" -xf - --no-same-owner || return 1
    if ! [ -e "$src/configure" ] || ! [ -e "$src/Makefile.in" ] ||
        [ -n "$(find "$src" \( -name '*.am' -o -name configure.ac -o -path '*/m4/virtid*' \) \
            -newer "$src/configure" -print -quit)" ]; then
        (cd "$src" && autoreconf -fi && touch configure Makefile.in)
    fi
}

# build_make TOP NAME FLAG...: configures TOP/build/NAME and builds everything.
build_make() {
    local top=$1 dir=$1/build/$2

    shift 2
    mkdir -p "$dir" && cd "$dir" || return 1
    if ! [ -e config.status ] || [ "$top/build/src/configure" -nt config.status ]; then
        echo "configuring"
        "$top/build/src/configure" "${BUILD_FLAGS[@]}" "$@" || return 1
    fi
    make -s -j"$(nproc)" all
}

# build_install TOP NAME: installs TOP/build/NAME into TOP/build/stage; hosts may run on that, so it
# stays when it is the same.
build_install() {
    rm -rf "$1/build/stage.new"
    make -s -C "$1/build/$2" install DESTDIR="$1/build/stage.new" || return 1
    diff -qr --no-dereference "$1/build/stage" "$1/build/stage.new" >/dev/null 2>&1 && {
        rm -rf "$1/build/stage.new"
        return 0
    }
    rm -rf "$1/build/stage"
    mv "$1/build/stage.new" "$1/build/stage"
}

# build_debs TOP NAME: Debian packages into TOP/build/debs/now, and the same as a later version into
# debs/next; those of an earlier run stay while no source is newer.
build_debs() {
    local src=$1/build/src debs=$1/build/debs tree version

    if [ -d "$debs/next" ] && [ -z "$(find "$src" -type f -newer "$debs/next" -print -quit)" ]; then
        return 0
    fi
    rm -rf "$debs"
    make -s -C "$1/build/$2" deb || return 1
    tree=$(echo "$1/build/$2/deb"/virtid-*/)
    version=${tree%/}
    version=${version##*-}
    mkdir -p "$debs/now" "$debs/new"
    mv "$1/build/$2/deb"/*.deb "$1/build/$2/deb"/*.changes "$1/build/$2/deb"/*.buildinfo "$debs/now/"
    sh "$src/packaging/make-deb.sh" "$tree" "$version+next" || return 1
    mv "$1/build/$2/deb"/*.deb "$debs/new/"
    rm -rf "$1/build/$2/deb"
    touch "$debs/new" && mv "$debs/new" "$debs/next"
}
