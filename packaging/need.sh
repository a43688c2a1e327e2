#!/bin/sh
# need.sh PROGRAM PACKAGE …: see that each PROGRAM is there, and install Debian's PACKAGE of those that
# are not, all at once. PROGRAM is the path of a file for a package that brings no program of its own, or
# -, and the package is looked for itself.
set -eu
PATH=$PATH:/usr/sbin:/sbin

is_there() {
    case $1 in
    python3-venv) ${PYTHON:-python3} -c 'import ensurepip, venv' 2>/dev/null ;;
    -) dpkg -s "$2" 2>/dev/null | grep -q '^Status: install ok installed' ;;
    /*) test -e "$1" ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

missing_of() {
    while [ $# -gt 0 ]; do
        is_there "$1" "$2" || echo "$2"
        shift 2
    done
}
missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0

cannot() {
    echo "missing: $(echo $missing). $1" >&2
    exit 1
}
as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && sudo -v; }; then
        cannot "This user can't install it. As root: apt-get install $(echo $missing)"
    fi
    as_root=sudo
fi
command -v apt-get >/dev/null || cannot "There is no apt-get here: install these packages."
# apt gives up where another apt is at work, as for the target of the Makefile that runs beside this.
exec 9<"$0"
flock 9
missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0
echo "installing" $missing >&2
{
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
} >&2 9<&-
