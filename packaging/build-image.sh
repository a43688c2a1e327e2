#!/bin/sh
# build-image.sh TAG [OPTION…]: build the image of this tree with the first of docker, podman and
# buildah that answers, or with ENGINE (which may have options of its own, as in
# "buildah --storage-driver vfs").
set -eu
tag=$1
shift
source=$(realpath "$(dirname "$0")/..")

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
case $engine in
    docker*) ;;
    # OCI's own format of images knows no health check.
    *) set -- --format docker "$@" ;;
esac
# Unquoted, so that options of the engine are words of their own.
exec $engine build --file "$source/packaging/container/Containerfile" --tag "$tag" "$@" "$source"
