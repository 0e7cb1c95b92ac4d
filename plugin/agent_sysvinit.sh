#!/bin/sh
### BEGIN INIT INFO
# Provides:          virtid-agent
# Required-Start:    $local_fs $remote_fs
# Required-Stop:     $local_fs $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: virtid: identity of this virtual machine
### END INIT INFO
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

# The process that the file names, if it is still ours.
running() {
    pid=$(cat /run/virtid-agent.pid 2>/dev/null) && [ -n "$pid" ] &&
        grep -q virtid/keep-agent "/proc/$pid/cmdline" 2>/dev/null
}

start() {
    running && return 0
    /usr/lib/virtid/prepare-agent
    /usr/lib/virtid/keep-agent </dev/null >/dev/null 2>>/var/log/virtid-agent.log &
}

stop() {
    running || return 0
    kill "$pid"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 1
    done
    echo "virtid-agent does not stop" >&2
    return 1
}

case "$1" in
start) start ;;
stop) stop ;;
restart | force-reload) stop && start ;;
status)
    if running; then
        echo "virtid-agent is running"
    else
        echo "virtid-agent is not running"
        exit 3
    fi
    ;;
*)
    echo "Usage: $0 start|stop|restart|force-reload|status" >&2
    exit 2
    ;;
esac
