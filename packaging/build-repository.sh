#!/bin/sh
# build-repository.sh KEY DIST OUTPUT: add the packages in the folder DIST to the repository in the
# folder OUTPUT, for apt in OUTPUT/apt and for dnf in OUTPUT/dnf, and sign it. KEY is a secret key of
# gpg: its id, fingerprint or address, or a file with it, which must have no passphrase then.
set -eu
key=$1
dist=$(realpath "$2")
output=$(realpath "$3")
mkdir -p "$(dirname "$output")"
# Beside the old one, which is replaced as a whole, or not at all.
work=$(mktemp -d "$output.XXXXXX")
own_keyring=

leave() {
    [ -z "$own_keyring" ] || gpgconf --homedir "$own_keyring" --kill all
    rm -rf "$work"
}
trap leave EXIT

if [ -f "$key" ]; then
    own_keyring=$work/gnupg
    mkdir -m 0700 "$own_keyring"
    GNUPGHOME=$own_keyring
    export GNUPGHOME
    gpg --batch --quiet --import "$key"
    key=$(gpg --batch --with-colons --list-secret-keys | sed -n 's/^fpr:*\([^:]*\):.*/\1/p' | head -n 1)
fi
if [ -z "$key" ] || ! gpg --batch --list-secret-keys "$key" >/dev/null 2>&1; then
    echo "gpg has no secret key '$1': see gpg --list-secret-keys, or give a file" >&2
    exit 1
fi

sign() {
    gpg --batch --yes --quiet --local-user "$key" "$@"
}

# For apt, a flat repository: one package for all architectures.
add_debs() {
    mkdir -p apt
    cp -p "$@" apt
    (
        cd apt
        rm -f InRelease Release Release.gpg
        apt-ftparchive packages . >Packages
        gzip -nk9f Packages
        apt-ftparchive -o APT::FTPArchive::MD5=false -o APT::FTPArchive::SHA1=false \
            -o APT::FTPArchive::Release::Origin=pyboot \
            -o APT::FTPArchive::Release::Label=pyboot release . >../Release
        mv ../Release Release
        sign --clearsign --output InRelease Release
        sign --armor --detach-sign --output Release.gpg Release
    )
}

# For dnf; the packages themselves are signed, too, as it checks each by default.
add_rpms() {
    mkdir -p dnf
    for rpm; do
        cp -p "$rpm" dnf
        rpmsign --define "__gpg $(command -v gpg)" --define "_gpg_name $key" \
            --addsign "dnf/${rpm##*/}" >/dev/null
    done
    createrepo_c --quiet --no-database --update dnf
    sign --armor --detach-sign --output dnf/repodata/repomd.xml.asc dnf/repodata/repomd.xml
}

made=$work/repository
mkdir "$made"
[ ! -d "$output" ] || cp -a "$output/." "$made"
cd "$made"
set -- "$dist"/pyboot-svc_*.deb
[ ! -e "$1" ] || add_debs "$@"
set -- "$dist"/pyboot-svc-*.noarch.rpm
[ ! -e "$1" ] || add_rpms "$@"
if [ ! -d apt ] && [ ! -d dnf ]; then
    echo "no package in $dist: make deb rpm" >&2
    exit 1
fi
gpg --batch --armor --export "$key" >pyboot.asc
chmod -R u=rwX,go=rX .

[ ! -d "$output" ] || mv "$output" "$work/old"
mv "$made" "$output"
echo "$output"
