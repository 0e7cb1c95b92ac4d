#!/bin/bash
# Every installed program has a manual page, and the page names every option that
# the program's --help names.  Runs in the build folder.
set -u
top=$(cd "${srcdir:-.}" && pwd)
n=0

tell() {
    n=$((n + 1))
    if [ -z "$2" ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        printf '%s' "$2" | sed 's/^/# /'
    fi
}

missing=
for program in ${LINTED:-}; do
    name=${program##*/}
    page=$(find "$top" -name "$name.[0-9].pod" ! -path "$top/build/*" | head -1)
    if [ -z "$page" ]; then
        missing+="$name has no manual page"$'\n'
        continue
    fi
    unnamed=
    for option in $("./$program" --help 2>/dev/null </dev/null | grep -oE -- '--[a-z][a-z-]+' | sort -u); do
        grep -qF -- "$option" "$page" || unnamed+="$option is not in $(basename "$page")"$'\n'
    done
    "./$program" --help >/dev/null 2>&1 </dev/null || unnamed+="$name --help fails"$'\n'
    "./$program" --version >/dev/null 2>&1 </dev/null || unnamed+="$name --version fails"$'\n'
    tell "the_page_of_${name//-/_}_names_every_option" "$unnamed"
done
tell every_program_has_a_page "$missing"
echo "1..$n"
