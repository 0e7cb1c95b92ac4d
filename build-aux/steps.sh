# shellcheck shell=bash
# steps.sh - ticked lines with times, for commands that take a while
#
# A step is a shell function that runs in a process group of its own, with its
# output in a log: it can be watched, interrupted and quoted when it fails.

STEPS_LOG=${STEPS_LOG:?the log of the step that runs}
declare -A steps_label=() steps_log=() steps_begun=() # of those that run, by process group
steps_tty=
[ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && steps_tty=1
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
*[Uu][Tt][Ff]*) steps_good=✓ steps_bad=✗ ;;
*) steps_good='[ok]' steps_bad='[failed]' ;;
esac

# Prints hundredths of a second since boot.
steps_now() {
    local up

    read -r up _ </proc/uptime
    echo "${up/./}"
}

# steps_line MARK LABEL HUNDREDTHS
steps_line() {
    printf '%s%s %-58s %5d.%d s\n' "${steps_tty:+$'\r\e[K'}" "$1" "$2" \
        $(($3 / 100)) $(($3 / 10 % 10))
}

# steps_last_words LOG: the last thing that a log says, for the line of a running step.
steps_last_words() {
    tail -c 400 "$1" 2>/dev/null | tr '\r' '\n' | tr -cd '[:print:]\n' | grep -v '^ *$' |
        tail -1 | cut -c1-60
}

# steps_show_progress LABEL HUNDREDTHS TURN LOG [WORDS]: the words instead of the log's last.
steps_show_progress() {
    local label=$1 spent=$(($2 / 100)) turn=$3 log=$4 words=${5:-} line
    local wheel='-+*o'

    if [ -n "$steps_tty" ]; then
        # A line that wraps could not be taken back.
        line="${wheel:turn % 4:1} $label  $spent s  ${words:-$(steps_last_words "$log")}"
        printf '\r\e[K%s' "${line:0:$((${COLUMNS:-80} - 1))}"
    elif ((turn % 50 == 49 && (turn < 300 || turn % 150 == 149))); then
        printf '  ... not yet after %d s: %s (%s)\n' "$spent" "$label" "${words:-$(steps_last_words "$log")}"
    fi
}

# steps_begin LABEL LOG FUNCTION ARG...: starts a step.
steps_begin() {
    local label=$1 log=$2

    shift 2
    : >"$log"
    set -m
    "$@" </dev/null >>"$log" 2>&1 &
    set +m
    steps_label[$!]=$label
    steps_log[$!]=$log
    steps_begun[$!]=$(steps_now)
}

# steps_end GROUP ADVICE: waits for a step that has ended, says how, and returns its status.
steps_end() {
    local group=$1 status spent

    wait "$group"
    status=$?
    spent=$(($(steps_now) - steps_begun[$group]))
    if [ $status = 0 ]; then
        steps_line "$steps_good" "${steps_label[$group]}" "$spent"
    else
        steps_line "$steps_bad" "${steps_label[$group]}" "$spent"
        # shellcheck disable=SC2001 # line by line
        tail -n 20 "${steps_log[$group]}" | sed 's/^/    | /'
        printf '    What to do: %s\n' "$2"
    fi
    unset "steps_label[$group]" "steps_log[$group]" "steps_begun[$group]"
    return $status
}

# step LABEL ADVICE FUNCTION ARG...: runs one step; on failure says what failed, quotes
# the end of its log, gives the advice and returns non-zero.
step() {
    local label=$1 advice=$2 group turn=0

    shift 2
    steps_begin "$label" "$STEPS_LOG" "$@"
    group=$!
    while kill -0 "$group" 2>/dev/null; do
        sleep 0.2
        steps_show_progress "$label" "$(($(steps_now) - steps_begun[$group]))" $((turn++)) "$STEPS_LOG"
    done
    steps_end "$group" "$advice"
}

# steps_abreast WIDTH LABEL ADVICE FUNCTION NAME...: runs `FUNCTION NAME` for every NAME, up to
# WIDTH of them at a time, each as a step "LABEL: NAME" with the log $STEPS_LOG.NAME.
steps_abreast() {
    local width=$1 what=$2 advice=$3 function=$4 begin turn=0 failed=0 done=0 all group

    shift 4
    all=$#
    begin=$(steps_now)
    while [ $# -gt 0 ] || [ ${#steps_label[@]} -gt 0 ]; do
        while [ $# -gt 0 ] && [ ${#steps_label[@]} -lt "$width" ]; do
            steps_begin "$what: $1" "$STEPS_LOG.$1" "$function" "$1"
            shift
        done
        sleep 0.2
        for group in "${!steps_label[@]}"; do
            kill -0 "$group" 2>/dev/null && continue
            steps_end "$group" "$advice" || failed=1
            done=$((done + 1))
        done
        steps_show_progress "$what: $done of $all done" "$(($(steps_now) - begin))" $((turn++)) /dev/null \
            "${steps_label[*]//$what: /}"
    done
    return $failed
}

# Ends the steps that run, with all their processes.
steps_interrupt() {
    local group

    for group in "${!steps_label[@]}"; do
        kill -TERM -- "-$group" 2>/dev/null
    done
    # Whoever cleans up gets a while for it.
    for group in "${!steps_label[@]}"; do
        wait "$group" 2>/dev/null
        for _ in {1..50}; do
            kill -0 -- "-$group" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$group" 2>/dev/null
    done
    steps_label=() steps_log=() steps_begun=()
    [ -z "$steps_tty" ] || printf '\r\e[K'
}
