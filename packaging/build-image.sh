#!/bin/sh
# build-image.sh TAG [OPTION…]: build the image of this tree with the first of docker, podman and
# buildah that answers, or with ENGINE (which may have options of its own, as in
# "buildah --storage-driver vfs").
set -eu
tag=$1
shift
packaging=$(realpath "$(dirname "$0")")

# docker's client alone, without a daemon, is no engine.
answers() {
    case $1 in
        docker) timeout 20 docker version && timeout 20 docker info ;;
        *) timeout 20 "$1" info ;;
    esac >/dev/null 2>&1
}

engine=${ENGINE:-}
silent=
for found in docker podman buildah; do
    [ -z "$engine" ] && command -v "$found" >/dev/null || continue
    if answers "$found"; then engine=$found; else silent="$silent $found"; fi
done
if [ -z "$engine" ]; then
    echo "none of docker, podman and buildah answers${silent:+ (installed:$silent)};" \
        "start one, install one, or name one with ENGINE=" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$("$packaging/source.sh" "$work/source")
export SOURCE_DATE_EPOCH
case $engine in
    # BuildKit takes the times of the image from SOURCE_DATE_EPOCH, but not those of its files.
    docker*) ;;
    # OCI's own format of images knows no health check.
    *) set -- --format docker --timestamp "$SOURCE_DATE_EPOCH" "$@" ;;
esac
# Unquoted, so that options of the engine are words of their own.
$engine build --file "$work/source/packaging/container/Containerfile" --tag "$tag" \
    --build-arg SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "$@" "$work/source"
