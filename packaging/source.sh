#!/bin/sh
# source.sh FOLDER: copy the source into the new FOLDER, the same bytes, modes and times wherever that
# is done, and print that time in seconds of 1970 (SOURCE_DATE_EPOCH). Of a clean clone it is what
# `git archive` gives; of one with changes, or of no clone at all, it is what lies there.
set -eu
source=$(realpath "$(dirname "$0")/..")
umask 022
mkdir "$1"

# Another user's clone is read, and nothing in it is run.
git_here() {
    git -C "$source" -c safe.directory="$source" "$@"
}

if [ -e "$source/.git" ]; then
    epoch=${SOURCE_DATE_EPOCH:-$(git_here log -1 --format=%ct)}
    if [ -z "$(git_here status --porcelain)" ]; then
        git_here -c tar.umask=0022 archive HEAD | tar -C "$1" --no-same-owner -xf -
    else
        echo "the work tree has changes: they are built in, and nobody else can build the same" >&2
        git_here ls-files -z --cached --others --exclude-standard |
            tar -C "$source" --null --files-from=- --ignore-failed-read -cf - |
            tar -C "$1" --no-same-owner -xf -
    fi
else
    epoch=${SOURCE_DATE_EPOCH:-$(date +%s \
        --date="$(sed -n 's/^ -- .*>  //p' "$source/packaging/debian/changelog" | head -n 1)")}
    tar -C "$source" --exclude=./.git --exclude=./.venv --exclude=./dist --exclude=./build \
        --exclude=__pycache__ --exclude='*.egg-info' --exclude='./.*_cache' \
        --exclude=./.hypothesis -cf - . | tar -C "$1" --no-same-owner -xf -
fi
chmod -R u=rwX,go=rX "$1"
find "$1" -exec touch --no-dereference --date="@$epoch" {} +
echo "$epoch"
