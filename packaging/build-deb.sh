#!/bin/sh
# build-deb.sh OUTPUT: build the .deb of this tree and put it into the folder OUTPUT.
set -eu
mkdir -p "$1"
output=$(realpath "$1")
packaging=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

SOURCE_DATE_EPOCH=$("$packaging/source.sh" "$work/pyboot-svc")
export SOURCE_DATE_EPOCH
cd "$work/pyboot-svc"
cp -pr packaging/debian debian
# Debian's own Python, whatever else stands in front of it on the PATH.
PATH=/usr/bin:/bin:/usr/sbin:/sbin dpkg-buildpackage --build=binary --no-sign >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}
deb=$(echo "$work"/pyboot-svc_*.deb)
cp "$deb" "$output"
python3 packaging/sbom.py deb "$output/${deb##*/}"
ls "$output/${deb##*/}"*
