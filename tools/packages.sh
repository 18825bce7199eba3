# Read by the other scripts here: install a distribution package after naming it.

need_package() { # need_package NAME WHY
    echo "Distribution package needed: $1 ($2)." >&2
    if [ "$(id -u)" = 0 ]; then root=""; else root="sudo"; fi
    if ! command -v apt-get >/dev/null || { [ -n "$root" ] && ! command -v sudo >/dev/null; }; then
        echo "It cannot be installed from here. As root, run: apt-get install $1" >&2
        return 1
    fi
    echo "Installing it now: $root apt-get install --yes $1" >&2
    $root apt-get install --yes "$1" || { $root apt-get update && $root apt-get install --yes "$1"; } || {
        echo "That failed. As root, run: apt-get update && apt-get install $1" >&2
        return 1
    }
}
