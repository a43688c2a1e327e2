#!/bin/sh
# need.sh PROGRAM PACKAGE: see that PROGRAM is there, and install Debian's PACKAGE if it is not.
# PROGRAM is - for a package that brings no program of its own.
set -eu
program=$1
package=$2
PATH=$PATH:/usr/sbin:/sbin

is_there() {
    if [ "$program" = python3-venv ]; then
        ${PYTHON:-python3} -c 'import ensurepip, venv' 2>/dev/null
    elif [ "$program" = - ]; then
        dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed'
    else
        command -v "$program" >/dev/null
    fi
}
! is_there || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && sudo -v; }; then
        echo "$program is missing, and this user can't install it. As root: apt-get install $package" >&2
        exit 1
    fi
    as_root=sudo
fi
if ! command -v apt-get >/dev/null; then
    echo "$program is missing, and there is no apt-get here. Install the package $package." >&2
    exit 1
fi
# apt gives up where another apt is at work, as for the target of the Makefile that runs beside this.
exec 9<"$0"
flock 9
! is_there || exit 0
echo "installing $package" >&2
{
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"
} >&2 9<&-
