#!/bin/sh
# make-deb.sh TREE VERSION - Debian packages of a tree as `make dist` leaves it, beside it
#
# A TREE whose programs have been built is packaged again without building them again.
set -eu
tree=$1 version=$2

if [ -d "$tree/debian" ]; then
    find "$tree/debian" -depth \( -name '.debhelper' -o -name '*.debhelper*' -o -name '*.substvars' -o -name tmp \
        -o -path "$tree/debian/virtid*" -type d \) -exec rm -rf {} +
else
    cp -R "$tree/packaging/debian" "$tree/debian"
fi
date=$(date -R -u -d "@${SOURCE_DATE_EPOCH:-$(stat -c %Y "$tree/NEWS.md")}")
cat >"$tree/debian/changelog" <<END
virtid ($version) unstable; urgency=medium

  * What is new is in NEWS.md.

 -- virtid developers <virtid@packages.invalid>  $date
END
cd "$tree"
export DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS-nocheck noautodbgsym}"
dpkg-buildpackage --build=binary --no-sign --no-pre-clean -jauto
