#!/bin/sh
# build-wheel.sh OUTPUT: build the wheel and the sdist of this tree and put them into the folder
# OUTPUT. PYTHON names a Python that has setuptools.
set -eu
mkdir -p "$1"
output=$(realpath "$1")
packaging=$(realpath "$(dirname "$0")")
# Without following links: a virtual environment's Python is one.
python=$(realpath --no-symlinks "$(command -v "${PYTHON:-python3}")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

SOURCE_DATE_EPOCH=$("$packaging/source.sh" "$work/source")
export SOURCE_DATE_EPOCH
mkdir "$work/built" "$work/sdist"
cd "$work/source"
"$python" -c '
import sys
from setuptools import build_meta
output = sys.argv[1]  # setuptools writes arguments of its own there
build_meta.build_sdist(output)
build_meta.build_wheel(output)
' "$work/built" >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}
# setuptools writes its own hour into the sdist.
tar -C "$work/sdist" --no-same-owner -xzf "$work"/built/pyboot_svc-*.tar.gz
name=$(ls "$work/sdist")
tar -C "$work/sdist" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu \
    --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" | gzip -n >"$output/$name.tar.gz"
wheel=$(echo "$work"/built/*.whl)
cp "$wheel" "$output"
"$python" packaging/sbom.py wheel "$output/${wheel##*/}"
ls "$output/$name"*
