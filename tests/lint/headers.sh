#!/bin/bash
# Every header says in line 2 what it is for, guards itself, and compiles alone.
set -u
cd "${srcdir:-.}" || exit 1
top=$PWD
config=${builddir_abs:-$OLDPWD}
purpose='' guard='' alone='' n=0

while IFS= read -r file; do
    file=${file#./}
    base=${file##*/}
    sed -n 2p "$file" | grep -qE "^ \* ${base//./\\.} - [A-Za-z\`]" || purpose+="# $file: line 2"$'\n'
    grep -qx '#pragma once' "$file" || grep -qE '^#ifndef [A-Z_]+_H$' "$file" || guard+="# $file"$'\n'
    if [ -n "${CC:-}" ]; then
        case $file in
        plugin/domain/* | plugin/inject/* | cli/libvirt.h | cli/domain_edit.h) [ "${HOST_BUILD:-yes}" = yes ] || continue ;;
        esac
        # shellcheck disable=SC2086 # CC and the flags are words
        said=$($CC -std=gnu11 -D_GNU_SOURCE -fsyntax-only -I"$config" -I"$top" ${LINT_CFLAGS:-} \
            -include config.h -x c "$file" -Wno-pragma-once-outside-header 2>&1 | grep -E ': (fatal )?error: ' | head -3)
        [ -z "$said" ] || alone+="# $file: $said"$'\n'
    fi
done < <(find lib hooks plugin guestagent tokenservice verify cli tpmsim -name '*.h' | sort)

tell() {
    n=$((n + 1))
    if [ -z "$2" ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        printf %s "$2"
    fi
}
tell every_header_says_what_it_is_for "$purpose"
tell every_header_guards_itself "$guard"
if [ -n "${CC:-}" ]; then
    tell every_header_compiles_alone "$alone"
else
    n=$((n + 1))
    echo "ok $n - every_header_compiles_alone # SKIP no compiler is named in CC"
fi
echo "1..$n"
