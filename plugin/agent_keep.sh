#!/bin/sh
# keep-agent - runs the agent, and again two seconds after it ended, until it is told to stop
umask 077
echo $$ >/run/virtid-agent.pid
agent=
stop() {
    trap '' TERM INT
    [ -z "$agent" ] || kill "$agent" 2>/dev/null
    wait
    rm -f /run/virtid-agent.pid
    exit 0
}
trap stop TERM INT
while :; do
    /usr/lib/virtid/run-agent run &
    agent=$!
    wait "$agent"
    sleep 2 &
    agent=$!
    wait "$agent"
done
