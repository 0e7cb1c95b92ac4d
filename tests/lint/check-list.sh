#!/bin/bash
# check-list.sh SOURCE BUILD - check, its tests, their results; fails on a hole
#
# tests/checks.required names the checks, tests/checks.d/* says which test shows each
# (id, TAB, test, TAB, name of the test function or TAP line).  Results come from
# the TAP in automake's logs and from the TAP that the system tests left (*.tap).
set -u
source=${1:?source folder} build=${2:?build folder}
declare -A result required covered
holes=0

while IFS=$'\t' read -r test verdict name; do
    key="$test"$'\t'"${name%% (*}" # without counts
    # A name that failed once has failed.
    [ "${result[$key]:-}" = FAIL ] || result[$key]=$verdict
done < <(
    cd "$build" || exit
    # Only what this build's `make check` ran has a .trs beside its .log.
    {
        find . -name '*.trs' 2>/dev/null | sed 's|\.trs$|.log|'
        find tests -name '*.tap' 2>/dev/null
    } | while IFS= read -r file; do
        test=${file#./}
        test=${test%.*}
        sed -nE -e "s~^ok [0-9]+ *-? *([^#]*[^# ]) *# *[Ss][Kk][Ii][Pp].*~$test\tSKIP\t\1~p;t" \
            -e "s~^ok [0-9]+ *-? *([^#]*[^# ]).*~$test\tPASS\t\1~p;t" \
            -e "s~^not ok [0-9]+ *-? *([^#]*[^# ]).*~$test\tFAIL\t\1~p" "$file"
    done
)

while read -r id words; do
    case $id in
    '' | '#'*) ;;
    B:*) required["$id${words:+ $words}"]='a bad day' ;;
    *) required[$id]=$words ;;
    esac
done <"$source/tests/checks.required"

printf '%-6s %-5s %-42s %s\n' RESULT CHECK TEST NAME
while IFS=$'\t' read -r id test name; do
    case $id in '' | '#'*) continue ;; esac
    test=${test%.sh}
    verdict=${result["$test"$'\t'"$name"]:-none}
    covered[$id]=1
    case $verdict in
    PASS) word=ok ;;
    SKIP) word=skip ;;
    none) word='NONE' ;;
    *) word=FAIL ;;
    esac
    printf '%-6s %-5s %-42s %s\n' "$word" "$id" "$test" "$name"
    [ "$word" = ok ] || { [ "$word" = skip ] && [ -z "${CI:-}${VIRTID_NO_SKIP:-}" ]; } || holes=$((holes + 1))
done < <(cat "$source"/tests/checks.d/* 2>/dev/null | sort -t$'\t' -k1,1V -k2,2)

for id in "${!required[@]}"; do
    [ -n "${covered[$id]:-}" ] && continue
    printf '%-6s %-5s %s\n' HOLE "$id" "no test is named for: ${required[$id]}"
    holes=$((holes + 1))
done
echo "${#required[@]} checks required, $holes holes"
[ $holes = 0 ]
