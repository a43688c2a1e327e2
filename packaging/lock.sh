#!/bin/sh
# lock.sh: renew requirements/*.txt, which name each version of each library that the Makefile
# installs, for all supported Pythons and platforms, with the hashes of all its files; and the same of
# npm's. UV names uv.
set -eu
cd "$(dirname "$0")/.."

# uv doesn't know pip's configuration: the index that pip asks is the one for both.
if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
    index=$(python3 -m pip config get global.index-url 2>/dev/null || :)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
fi

# lock NAME SOURCE…: requirements/NAME.txt of what the sources ask for.
lock() {
    name=$1
    shift
    "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --output-file "requirements/$name.txt" "$@"
}

lock test pyproject.toml requirements/build.in --extra test
# The same versions, wherever they are installed.
lock build requirements/build.in --constraint requirements/test.txt
lock run pyproject.toml requirements/build.in --constraint requirements/test.txt
lock oldest --no-deps tests/oldest.txt
lock tools requirements/tools.in

cd tests/brokers
rm -f package-lock.json
npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund \
    --loglevel=error
