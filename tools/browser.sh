#!/bin/sh
# tools/browser.sh: the browser with which tests look at the key service's page, from Debian's packages.
# Names every distribution package before it installs it. Without it those tests are skipped, and say so.
set -eu
if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
    exit 0
fi
echo "Distribution packages needed: chromium chromium-driver (tests of the key service's page)." >&2
if [ "$(id -u)" = 0 ]; then root=""; else root="sudo"; fi
if ! command -v apt-get >/dev/null || { [ -n "$root" ] && ! command -v sudo >/dev/null; }; then
    echo "They cannot be installed from here. As root, run: apt-get install chromium chromium-driver" >&2
    exit 1
fi
echo "Installing them now: $root apt-get install --yes chromium chromium-driver" >&2
$root apt-get install --yes chromium chromium-driver || { $root apt-get update && $root apt-get install --yes chromium chromium-driver; }
