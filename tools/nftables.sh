#!/bin/sh
# tools/nftables.sh: have `nft` here, with which a workload's connections are brought to its relay.
# Names the distribution package before it installs it. Where it cannot be had, workloads have a network only under policies that
# name every port, and the tests of the other kind are skipped and say so.
set -eu
. "$(dirname "$0")/packages.sh"

for place in /usr/sbin/nft /sbin/nft /usr/bin/nft; do # the places where Cloister looks
    [ ! -x "$place" ] || exit 0
done
need_package nftables "networks of workloads, and their tests" ||
    echo "Going on without it: those tests are skipped." >&2
