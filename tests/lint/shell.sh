#!/bin/bash
# Shell scripts pass shellcheck.
set -u
cd "${srcdir:-.}" || exit 1
if ! command -v shellcheck >/dev/null; then
    echo "1..0 # SKIP shellcheck is not installed"
    exit 0
fi
n=0
while IFS= read -r file; do
    n=$((n + 1))
    name=${file#./}
    name=shellcheck_$(echo "${name%.sh}" | tr -c 'a-zA-Z0-9\n' _)
    if said=$(shellcheck -x -P SCRIPTDIR -P . -S warning "$file" 2>&1); then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        # shellcheck disable=SC2001 # line by line
        echo "$said" | head -30 | sed 's/^/# /'
    fi
done < <({
    find build-aux/packages.sh build-aux/steps.sh hooks plugin tests tokenservice cli packaging -name '*.sh' 2>/dev/null
    for file in quickstart check .ci/run tests/system/rig/rig; do [ -e "$file" ] && echo "$file"; done
} | sort)
echo "1..$n"
