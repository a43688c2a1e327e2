#!/bin/sh
# build-image.sh TAG [OPTION…]: build the image of this tree with docker, podman or buildah, or with
# ENGINE (which may have options of its own, as in "buildah --storage-driver vfs").
set -eu
tag=$1
shift
source=$(realpath "$(dirname "$0")/..")
engine=${ENGINE:-}
for found in docker podman buildah; do
    [ -n "$engine" ] || ! command -v "$found" >/dev/null || engine=$found
done
case $engine in
    "") echo "none of docker, podman and buildah is installed" >&2; exit 1 ;;
    docker*) ;;
    # OCI's own format of images knows no health check.
    *) set -- --format docker "$@" ;;
esac
# Unquoted, so that options of the engine are words of their own.
exec $engine build --file "$source/packaging/container/Containerfile" --tag "$tag" "$@" "$source"
