#!/usr/bin/env bash
# Prints a Python that has PyTorch and transformers, for the checks against them: the one that ABLATE_PYTHON names, else
# python3, else one with its own packages under target/ (4 GB; made once, with pip).
# Ends with 3, and says why, where none can be had.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(torch==2.15.0 transformers==4.57.6 numpy==1.26.4)
own=target/python

works() { "$1" -c 'import torch, transformers' >/dev/null 2>&1; }

for python in "${ABLATE_PYTHON:-}" python3 "$PWD/$own/bin/python"; do
    if [ -n "$python" ] && works "$python"; then
        echo "$python"
        exit
    fi
done
say() { echo "python-env: $*" >&2; }
room=$(df --output=avail -k . | tail -1)
if [ "$room" -lt 12000000 ]; then
    say "less than 12 GB of room: PyTorch and transformers are not installed"
    exit 3
fi
say "installing ${packages[*]} under $own"
if python3 -m venv "$own" >&2 && "$own/bin/python" -m pip install --quiet --no-input "${packages[@]}" >&2 \
    && works "$own/bin/python"; then
    echo "$PWD/$own/bin/python"
else
    say "PyTorch and transformers could not be installed"
    exit 3
fi
