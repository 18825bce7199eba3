#!/bin/sh
# tools/swtpm.sh: have a software TPM and its tools here, for the test that quotes with a TPM which is not ours.
# Names the distribution packages before it installs them. Where they cannot be had, that test is skipped and says so.
set -eu
. "$(dirname "$0")/packages.sh"

for package in swtpm tpm2-tools; do
    program=$([ "$package" = swtpm ] && echo swtpm || echo tpm2_quote)
    command -v "$program" >/dev/null ||
        need_package "$package" "the test of quotes made by a software TPM" ||
        echo "Going on without it: that test is skipped." >&2
done
