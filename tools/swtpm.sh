#!/bin/sh
# tools/swtpm.sh: have a software TPM and its tools here, for the tests that quote with a TPM which is not ours.
# Names the distribution packages before it installs them. Where they cannot be had, those tests are skipped and say so.
set -eu
. "$(dirname "$0")/packages.sh"

for package in swtpm tpm2-tools; do
    program=$([ "$package" = swtpm ] && echo swtpm || echo tpm2_quote)
    command -v "$program" >/dev/null ||
        need_package "$package" "the tests of quotes made by a software TPM" ||
        echo "Going on without it: those tests are skipped." >&2
done
