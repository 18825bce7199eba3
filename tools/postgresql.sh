#!/bin/sh
# tools/postgresql.sh: have PostgreSQL's programs here, for the tests that start a server of their own.
# Names the distribution package before it installs it. Where it cannot be had, those tests are skipped and say so.
set -eu
. "$(dirname "$0")/packages.sh"

for program in "$(command -v initdb || true)" /usr/lib/postgresql/*/bin/initdb; do
    [ ! -x "$program" ] || exit 0
done
need_package postgresql "tests of the key service's shared state" ||
    echo "Going on without it: tests that need PostgreSQL are skipped." >&2
