#!/bin/sh
# build-deb.sh OUTPUT: build the .deb of this tree and put it into the folder OUTPUT.
set -eu
mkdir -p "$1"
output=$(realpath "$1")
source=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/pyboot-svc"
tar -C "$source" --exclude=./.git --exclude=./.venv --exclude=./dist --exclude=./build \
    --exclude=__pycache__ --exclude='*.egg-info' -cf - . | tar -C "$work/pyboot-svc" -xf -
cp -r "$source/packaging/debian" "$work/pyboot-svc/debian"
cd "$work/pyboot-svc"
# Debian's own Python, whatever else stands in front of it on the PATH.
PATH=/usr/bin:/bin:/usr/sbin:/sbin dpkg-buildpackage --build=binary --no-sign >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}
cp "$work"/pyboot-svc_*.deb "$output"
ls "$output"/pyboot-svc_*.deb
