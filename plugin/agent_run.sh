#!/bin/sh
# run-agent - virtid-agent by the loader and the C library that came with it, whatever libc the guest has
exec /usr/lib/virtid/ld-linux-x86-64.so.2 --library-path /usr/lib/virtid /usr/lib/virtid/virtid-agent "$@"
