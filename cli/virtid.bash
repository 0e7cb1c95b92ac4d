# bash completion for virtid; the words come from the program's own table
_virtid()
{
    local cur=${COMP_WORDS[COMP_CWORD]} words
    words=$(virtid complete-words 2>/dev/null)
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(printf '%s\n' "$words" | cut -d' ' -f1 | sort -u)" -- "$cur")
    elif [ "$COMP_CWORD" -eq 2 ] && printf '%s\n' "$words" | grep -q "^${COMP_WORDS[1]} "; then
        mapfile -t COMPREPLY < <(compgen -W "$(printf '%s\n' "$words" | sed -n "s/^${COMP_WORDS[1]} //p")" -- "$cur")
    elif [[ ${COMP_WORDS[COMP_CWORD-1]} =~ ^--(audit|recipient|key|config|tokend)$ ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    elif [ "${COMP_WORDS[COMP_CWORD-1]}" = --mode ]; then
        mapfile -t COMPREPLY < <(compgen -W "loose strict observe host" -- "$cur")
    elif [ "${COMP_WORDS[COMP_CWORD-1]}" = --restore ]; then
        mapfile -t COMPREPLY < <(compgen -W "ask auto" -- "$cur")
    elif [[ $cur != -* && "${COMP_WORDS[1]} ${COMP_WORDS[2]}" =~ ^pool\ (set|remove)$ && $COMP_CWORD -eq 3 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(virtid --output json pool list 2>/dev/null | grep -o '"name":"[^"]*"' | cut -d'"' -f4)" -- "$cur")
    elif [[ $cur != -* && "${COMP_WORDS[1]} ${COMP_WORDS[2]}" =~ ^(host\ (approve|fence|remove)|pool\ set)$ ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(virtid --output json host list 2>/dev/null | grep -o '"name":"[^"]*"' | cut -d'"' -f4)" -- "$cur")
    elif [[ $cur != -* && "${COMP_WORDS[1]} ${COMP_WORDS[2]}" == "key revoke" ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(virtid --output json key list 2>/dev/null | grep -o '"kid":"[^"]*","purpose":"\(token\|bound\)"' | cut -d'"' -f4)" -- "$cur")
    elif [[ $cur != -* && ( ${COMP_WORDS[1]} =~ ^(backup|restore)$ || "${COMP_WORDS[1]} ${COMP_WORDS[2]}" == "audit verify" ) ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(virtid "${COMP_WORDS[@]:1:COMP_CWORD-1}" --help 2>/dev/null | grep -o -- '--[a-z-]*')" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$(virsh list --all --name 2>/dev/null)" -- "$cur")
    fi
}
complete -F _virtid virtid
