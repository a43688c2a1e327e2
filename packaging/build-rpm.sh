#!/bin/sh
# build-rpm.sh OUTPUT [RPMBUILD-OPTION…]: build the .rpm and the .src.rpm of this tree and put them
# into the folder OUTPUT. PYTEST names the pytest for %check where the distribution has no macro.
set -eu
mkdir -p "$1"
output=$(realpath "$1")
shift
packaging=$(realpath "$(dirname "$0")")
name=pyboot-svc-$(sed -n 's/^Version: *//p' "$packaging/rpm/pyboot-svc.spec")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

SOURCE_DATE_EPOCH=$("$packaging/source.sh" "$work/$name")
export SOURCE_DATE_EPOCH
mkdir "$work/SOURCES"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$name" |
    gzip -n >"$work/SOURCES/$name.tar.gz"
cp -p "$work/$name/etc/sysusers.d/pyboot.conf" "$work/SOURCES/pyboot-svc.sysusers"
# What rpm writes of this machine and this hour, otherwise.
set -- --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" --define "source_date_epoch_from_changelog 0" "$@"
if [ "$(rpm --eval '%{?pyproject_wheel:here}')" != here ]; then
    # Debian keeps no database of rpms, which is what --nodeps is for.
    set -- --nodeps --load "$packaging/rpm/macros.debian" \
        --define "pytest_command ${PYTEST:-pytest}" "$@"
fi
# The distribution's own Python, whatever else stands in front of it on the PATH.
PATH=/usr/bin:/bin:/usr/sbin:/sbin
# Apart, since a .src.rpm holds the folder that it was made in, and a .rpm of one run its digest.
for kind in -bb -bs; do
    rpmbuild $kind --define "_topdir $work" "$@" "$work/$name/packaging/rpm/pyboot-svc.spec" \
        >"$work/build.log" 2>&1 || {
        cat "$work/build.log" >&2
        exit 1
    }
done
cp "$work"/RPMS/noarch/*.rpm "$work"/SRPMS/*.rpm "$output"
for rpm in "$work"/RPMS/noarch/*.rpm; do
    python3 "$packaging/sbom.py" rpm "$output/${rpm##*/}"
done
ls "$output/$name"-*.rpm*
