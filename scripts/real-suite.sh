#!/usr/bin/env bash
# The real-model suite on SmolLM2-135M, 25 minutes or so on two cores:
# numbers against the independent reference, then the transcripts of docs/guide, the memory that runs take, and what
# `compress` writes as transformers loads it.
set -euo pipefail
cd "$(dirname "$0")/.."
export ABLATE_REAL=1
if python=$(scripts/python-env.sh); then
    export ABLATE_PYTHON=$python
else
    echo "SKIPPED: no PyTorch and transformers; compressed models are not checked against them"
fi
# both in one build
cargo test --release -p ablate -p ablate-cli --test it real_ -- --nocapture --test-threads 1
