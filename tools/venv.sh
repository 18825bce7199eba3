#!/bin/sh
# tools/venv.sh DIRECTORY EXTRA [PIP ARGUMENT...]: an environment with cloister[EXTRA] at the versions of constraints.txt.
# Names every distribution package before it installs it. Run it from the root of the repository.
set -eu
venv=$1 extra=$2
shift 2
. "$(dirname "$0")/packages.sh"

fits() { "$1" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" && echo "$PYTHON" && return
        echo "PYTHON=$PYTHON is not Python 3.11, 3.12 or 3.13." >&2
        return 1
    fi
    for name in python3 python3.13 python3.12 python3.11; do
        path=$(command -v "$name") && fits "$path" && echo "$path" && return
    done
    echo "Cloister needs Python 3.11, 3.12 or 3.13 (TensorFlow has no build for others); none was found in PATH." >&2
    echo "On Debian and Ubuntu: sudo apt-get install python3 python3-venv; or name one: make PYTHON=/path/to/python3" >&2
    return 1
}

python=$(find_python)
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        need_package "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" "python -m venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
echo "Installing cloister[$extra] into $venv with $("$venv/bin/python" --version); the first time takes a few minutes." >&2
if [ "$extra" = dev ]; then
    echo "That includes PyTorch: the build that pip finds first. The public registry's has CUDA and is 2 GB larger;" >&2
    echo "for the small one: make test PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'" >&2
fi
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --constraint constraints.txt "$@" --editable ".[$extra]"
if [ "$extra" = dev ]; then
    # Asks for the full tensorflow, which would overwrite tensorflow-cpu's files; it works with either.
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps "$@" tf_keras==2.21.0
fi
