#!/bin/sh
# Shell. VIRTID_CA names the issuer's CA; the token comes on stdin.
said=$(virtid-verify --issuer "$VIRTID_ISSUER" --audience "$VIRTID_AUDIENCE" --ca "$VIRTID_CA" -)
case $? in
    0) printf '%s\n' "$said" | sed -n 's/^ *subject *//p' ;;
    3) printf '%s\n' "$said" >&2; exit 75 ;; # nothing is known about the token: ask again later
    *) printf '%s\n' "$said" >&2; exit 1 ;;
esac
