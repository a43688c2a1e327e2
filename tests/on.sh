#!/bin/sh
# on.sh DEPENDENCIES-PLANE COMMAND…: run the tests' COMMAND with `newest` dependencies, those of the
# environment, or the `oldest` ones (tests/oldest.txt), and with `bulk` or `plain` as the data plane.
set -eu
on=$1
shift
case $on in
oldest-*) export PYTHONPATH="$(cd "$(dirname "$0")/.." && pwd)/build/oldest${PYTHONPATH:+:$PYTHONPATH}" ;;
newest-*) ;;
*) echo "on.sh: '$on' is neither newest-… nor oldest-…" >&2 && exit 64 ;;
esac
export PYBOOT_TEST_DATA_PLANE="${on#*-}"
exec "$@"
