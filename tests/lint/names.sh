#!/bin/bash
# A file name says one thing, once in the tree; nothing unfinished and no path of one
# machine is in the sources.
set -u
cd "${srcdir:-.}" || exit 1
n=0

tell() {
    n=$((n + 1))
    if [ -z "$2" ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        printf '%s\n' "$2" | sed 's/^/# /'
    fi
}

ours() {
    find . \( -name .git -o -name build -o -name _build -o -name 'build-*' -o -name autom4te.cache -o -name '.deps' -o -name .libs \) -prune \
        -o -type f "$@" -print | sort
}

sources=(-name '*.[ch]' -o -name '*.sh' -o -name '*.am' -o -name '*.py' -o -name '*.pod' -o -name '*.md'
    -o -name rig -o -name quickstart -o -name check -o -name '*.in' -o -name '*.conf')

tell file_names_are_unique "$(ours -name '*.[ch]' | sed 's|.*/||' | sort | uniq -d |
    grep -vxE 'main\.c')"
tell no_file_is_a_bucket "$(ours -name '*.[ch]' |
    grep -E '/(util|utils|common|misc|helper|helpers|internal|extern|defs)\.[ch]$')"
tell nothing_is_left_for_later "$(ours \( "${sources[@]}" \) | grep -v '^./tests/lint/names.sh$' |
    xargs grep -nwE 'TODO|FIXME|XXX|HACK|WIP' 2>/dev/null | grep -v 'XXXXXX')"
tell no_path_of_one_machine "$(ours \( "${sources[@]}" \) | grep -v '^./tests/lint/names.sh$' |
    xargs grep -nE '(^|[^A-Za-z0-9_./-])(/tmp/|/home/[a-z])[a-z]*/build' 2>/dev/null)"
tell no_function_leaves_by_goto "$(ours -name '*.[ch]' |
    xargs grep -nE '^[[:space:]]+goto [a-z_]+;' 2>/dev/null)"
tell no_typedef_hides_a_struct "$(ours -name '*.[ch]' |
    xargs grep -nE '^typedef (struct|union)' 2>/dev/null)"
tell no_file_is_longer_than_600_lines "$(ours -name '*.[ch]' |
    xargs wc -l | awk '$2 != "total" && $1 > 600 { print $2 ": " $1 " lines" }')"
# One that no module.am names is neither run nor packed.
tell every_test_is_run "$(find tests -name '[0-9]*.sh' -o -name '*_test.c' -o -name '*_fuzz.c' | sort | while IFS= read -r test; do
    name=${test%.c}
    grep -rqF --include=module.am -e "${name#tests/}" . || echo "$test"
done)"
echo "1..$n"
