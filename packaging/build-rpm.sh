#!/bin/sh
# build-rpm.sh OUTPUT [RPMBUILD-OPTION…]: build the .rpm and the .src.rpm of this tree and put them
# into the folder OUTPUT. PYTEST names the pytest for %check where the distribution has no macro.
set -eu
mkdir -p "$1"
output=$(realpath "$1")
shift
source=$(realpath "$(dirname "$0")/..")
spec=$source/packaging/rpm/pyboot-svc.spec
name=pyboot-svc-$(sed -n 's/^Version: *//p' "$spec")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/SOURCES"
tar -C "$source" --exclude=./.git --exclude=./.venv --exclude=./dist --exclude=./build \
    --exclude=__pycache__ --exclude='*.egg-info' --exclude='./.*_cache' --exclude=./.hypothesis \
    --transform="s,^\.,$name," --sort=name -czf "$work/SOURCES/$name.tar.gz" .
cp "$source/etc/sysusers.d/pyboot.conf" "$work/SOURCES/pyboot-svc.sysusers"
if [ "$(rpm --eval '%{?pyproject_wheel:here}')" != here ]; then
    # Debian keeps no database of rpms, which is what --nodeps is for.
    set -- --nodeps --load "$source/packaging/rpm/macros.debian" \
        --define "pytest_command ${PYTEST:-pytest}" "$@"
fi
# The distribution's own Python, whatever else stands in front of it on the PATH.
PATH=/usr/bin:/bin:/usr/sbin:/sbin rpmbuild -ba --define "_topdir $work" "$@" "$spec" \
    >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}
cp "$work"/RPMS/noarch/*.rpm "$work"/SRPMS/*.rpm "$output"
ls "$output/$name"-*.rpm
