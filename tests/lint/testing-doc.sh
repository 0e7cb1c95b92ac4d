#!/bin/bash
# docs/TESTING.md names every event word and every required check with its tests, and
# every test that tests/checks.d names exists.  With --write it renews the page.
set -u
cd "${srcdir:-.}" || exit 1
page=docs/TESTING.md
n=0

tell() {
    n=$((n + 1))
    if [ -z "$2" ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        printf '%s\n' "$2" | sed 's/^/# /'
    fi
}

# Words of log lines `event=WORD`, per program's folder.
events() {
    local folder

    echo '| folder | events |'
    echo '|---|---|'
    for folder in plugin guestagent tokenservice tpmsim; do
        printf '| `%s` | %s |\n' "$folder" "$(grep -rhoE --include='*.c' 'event=[a-z-]+' "$folder" |
            sed 's/^event=/`/; s/$/`/' | LC_ALL=C sort -u | tr '\n' ' ' | sed 's/ $//')"
    done
}

checks() {
    echo '| check | tests |'
    echo '|---|---|'
    cat tests/checks.d/* | LC_ALL=C sort -u | awk -F'\t' '
        FNR == NR {
            if ($0 == "" || /^#/) next
            id = $0
            words = ""
            if (id !~ /^B:/) {
                words = substr(id, index(id, " ") + 1)
                sub(/ .*/, "", id)
            }
            order[++count] = id
            title[id] = words
            next
        }
        NF == 3 {
            test = $2
            sub(/^tests\//, "", test)
            if ($1 in title)
                tests[$1] = tests[$1] (tests[$1] == "" ? "" : "<br>") "`" test "`: " $3
        }
        END {
            for (i = 1; i <= count; i++) {
                id = order[i]
                name = id ~ /^B:/ ? substr(id, 3) : id " " title[id]
                print "| " name " | " tests[id] " |"
            }
        }' tests/checks.required -
}

# The page with both tables made anew.
renewed() {
    awk -v events="$(events)" -v checks="$(checks)" '
        /^<!-- end -->$/ { skip = 0 }
        !skip { print }
        /^<!-- events -->$/ { print events; skip = 1 }
        /^<!-- checks -->$/ { print checks; skip = 1 }' "$page"
}

# Tests that tests/checks.d names and nobody wrote.
absent() {
    local test name

    cut -f2,3 tests/checks.d/* | sort -u | while IFS=$'\t' read -r test name; do
        case $name in '' | corpus_replayed) continue ;; esac
        grep -qsE "\b$name\b" "${test%.sh}.sh" "$test.c" && continue
        # A name that the script puts together from a program's.
        [[ $name == a_start_survives_kill_nine_of_* ]] && [ -e "$test.sh" ] && continue
        echo "$test: $name"
    done
}

# Tests that docs/LIFECYCLE.md names (`folder/test`: name) and nobody wrote; and rows without a test that do not say so.
lifecycle() {
    local test name

    grep -oE '`(unit|flow|system)/[^`]+`: [a-z0-9_]+(, [a-z0-9_]+)*' docs/LIFECYCLE.md | sed 's/`//g; s/: /\t/' |
        while IFS=$'\t' read -r test names; do
            for name in ${names//,/}; do
                grep -qsE "\b$name\b" "tests/${test%.sh}.sh" "tests/$test.c" || echo "$test: $name"
            done
        done
    grep -E '^\| ' docs/LIFECYCLE.md | grep -vE '^\| (operation|---)' | grep -vE '`(unit|flow|system)/|waits' | cut -c1-60
}

if [ "${1:-}" = --write ]; then
    renewed >"$page.new" && mv "$page.new" "$page"
    exit
fi
tell testing_md_is_current "$(renewed | diff "$page" - | head -20)"
tell every_test_of_a_check_exists "$(absent)"
tell every_test_of_lifecycle_md_exists "$(lifecycle)"
echo "1..$n"
