#!/bin/bash
# Each foreign library is included in one place.
set -u
cd "${srcdir:-.}" || exit 1
n=0

# only NAME PATTERN PLACES: includes matching PATTERN (ERE) occur below PLACES (ERE) only.
only() {
    local bad

    bad=$(grep -rnE --include='*.[ch]' "^ *# *include <($2)" . |
        grep -vE "^\./(tests/|build/|$3)" | sed 's/^/# /')
    n=$((n + 1))
    if [ -z "$bad" ]; then
        echo "ok $n - $1_is_included_in_one_place"
    else
        echo "not ok $n - $1_is_included_in_one_place"
        echo "$bad"
    fi
}

only openssl 'openssl/' 'lib/crypto/|lib/http/'
only tss2 'tss2/' 'lib/tpm/'
only libvirt 'libvirt/' 'plugin/domain/|cli/libvirt\.c'
only libxml2 'libxml/' 'plugin/domain/|cli/domain_edit\.c'
only libguestfs 'guestfs' 'plugin/inject/'
only sqlite 'sqlite3' 'tokenservice/store/'
only curl 'curl/' 'lib/http/'
only libevent 'event2?/|event' 'lib/http/|plugin/[^/]*\.[ch]|plugin/channel/|tpmsim/sim_(child|guest|host|loop)\.c|tokenservice/tokend\.c'
only seccomp 'seccomp' 'tokenservice/mint/'
only jansson 'jansson' 'lib/common/|cli/'
only inih 'ini\.h' 'lib/common/'
only smartcols 'libsmartcols' 'cli/'
echo "1..$n"
