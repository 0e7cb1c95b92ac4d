# shellcheck shell=bash
# fresh_token.sh - what a guest's newest token says
#
# For tests of system.sh with `audiences 60`: $vm is the domain, guest() runs a command in it, and "$box/asked" counts the
# audiences that were asked for (points are subshells).

: "${vm:=}" "${box:=}"

# fresh: a token that needs a proof now, into $token.
fresh() {
    local i asked

    for ((i = 0; i < 120; i += 2)); do
        asked=$(($(cat "$box/asked") % 60 + 1))
        echo $asked >"$box/asked" # points are subshells
        token=$(guest "virtid-agent token -a a$asked" 25 2>/dev/null |
            grep -oE 'eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+' | tail -n 1)
        [ -n "$token" ] && return 0
        sleep 2
    done
    guest "virtid-agent token -a a$asked" 25
    inside virtid why "$vm"
    return 1
}

# told WORD...: these claims, in a line.
told() {
    claims "$token" | /usr/bin/python3 -c '
import json, sys
at = json.load(sys.stdin)
at.update(at["virtid"])
print([at.get(word) for word in sys.argv[1:]])' "$@"
}

epoch() {
    told epoch | tr -dc 0-9
}
