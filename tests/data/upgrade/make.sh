#!/bin/bash
# make.sh BUILD - made this folder's files with the programs in BUILD, a build of an older commit (README.md)
#
# In a network namespace of its own, on the ports that the files name.
set -eu
[ "${2:-}" = inner ] || exec unshare --net -- bash "$0" "$(cd "$1" && pwd)" inner
ip link set lo up
here=$(cd "$(dirname "$0")" && pwd)
export builddir_abs=$1
# shellcheck source=tests/lib/service.sh
. "$here/../../lib/service.sh"
free_ports() { echo 18443 18444 18445; }
rest() { read -rt "$1" <>"$base/quiet" || :; }

service_up
base=$SERVICE
mkfifo "$base/quiet"
mkdir -p "$base/host/run" "$base/host/state"
sed "s|@BASE@|$base|g" "$here/hostd.conf.in" >"$base/hostd.conf"
admin audience add shop --all >/dev/null
for name in host-a simhost; do
    admin host add $name --auto >"$base/$name.log" 2>&1
    grep -o 'virtid1,[^ ]*' "$base/$name.log" >"$base/$name.code"
done
"${AS[@]}" "$BUILD/virtid-hostd" join --config "$base/hostd.conf" --wait 60 <"$base/host-a.code"
cp "$here/node.xml" "$base/node.xml"
"${AS[@]}" "$BUILD/virtid-hostd" --config "$base/hostd.conf" >/dev/null 2>"$base/host.log" &
host=$!
"${AS[@]}" "$BUILD/virtid-tpmsim" vm --host simhost --state "$base/vm" -a shop <"$base/simhost.code" >"$base/token"
until curl -sS --unix-socket "$base/host/run/hostd.sock" http://localhost/v1/vms | grep -q '"epoch":[1-9]'; do rest 0.2; done
rest 5
curl -sS --unix-socket "$base/host/run/hostd.sock" http://localhost/v1/vms >"$base/vms.json"
kill -KILL $host
date +%s >"$base/seconds"
service_stop
sqlite3 "$base/state/tokend.db" 'PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE; VACUUM' >/dev/null
rm -rf "$here/files"
mkdir "$here/files"
cp -r "$base"/{seconds,vms.json,etc,keys,state,vm} "$here/files/"
mkdir "$here/files/host"
cp -r "$base/host/state" "$here/files/host/"
find "$here/files" -name '*lock' -delete
sed -i 's|^signer_program = .*|signer_program = @SIGNER@|' "$here/files/etc/tokend.conf"
grep -rl "$base" "$here/files" | xargs -r sed -i "s|$base|@BASE@|g"
chmod -R a+rX,u+w "$here/files"
