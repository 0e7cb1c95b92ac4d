#!/bin/bash
# What the pages show as code of relying parties are the files of docs/examples, to the letter: those are what the tests
# run.  With --write the pages are made so.
set -u
cd "${srcdir:-.}" || exit 1
n=0

declare -A file=([python]=check.py [javascript]=check.mjs [c]=check.c [sh]=check.sh [apache]=apache.conf)

# shown PAGE: it, with each fenced block of such a language as its file has it.
shown() {
    local line lang=''

    while IFS= read -r line; do
        case $line in
        '```') [ -z "$lang" ] || cat "docs/examples/${file[$lang]}"; lang='' ;;
        '```'*) lang=${line#'```'}; [ -n "${file[$lang]:-}" ] || lang=''; printf '%s\n' "$line"; continue ;;
        esac
        [ -n "$lang" ] || printf '%s\n' "$line"
    done <"$1"
}
missing() { # from a page
    local lang

    for lang in "${!file[@]}"; do
        grep -qx "\`\`\`$lang" "$1" || echo "$1 does not show docs/examples/${file[$lang]}"
    done
}

tell() {
    n=$((n + 1))
    if [ -z "$2" ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        printf '%s\n' "$2" | sed 's/^/# /'
    fi
}

for page in README.md docs/RELYING.md; do
    if [ "${1:-}" = --write ]; then
        shown "$page" >"$page.new" && mv "$page.new" "$page"
    else
        tell "${page//[^A-Za-z]/_}_shows_the_examples_as_they_are" "$(shown "$page" | diff "$page" - | head -20)"
    fi
done
[ "${1:-}" != --write ] || exit 0
tell every_example_is_on_the_page "$(missing docs/RELYING.md)"
tell no_example_has_more_than_ten_lines_of_code "$(for name in check.py check.mjs check.sh; do
    [ "$(grep -vcE '^ *(#|//|$)' docs/examples/$name)" -le 10 ] || echo "docs/examples/$name"
done)"
echo "1..$n"
