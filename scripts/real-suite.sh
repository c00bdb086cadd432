#!/usr/bin/env bash
# The real-model suite on SmolLM2-135M, three quarters of an hour or so on two cores:
# numbers against the independent reference, then the transcripts of docs/guide, the memory that runs take, and what
# `compress` writes as transformers loads it, and the experiments.
set -euo pipefail
cd "$(dirname "$0")/.."
export ABLATE_REAL=1
if python=$(scripts/python-env.sh); then
    export ABLATE_PYTHON=$python
else
    echo "SKIPPED: no PyTorch and transformers; compressed models are not checked against them"
fi
# both in one build
suite() { cargo test --release -p ablate -p ablate-cli --test it "$@" -- --nocapture --test-threads 1 "${skip[@]}"; }
skip=(--skip real_experiments)
suite real_
# the experiments take a quarter of an hour more; ABLATE_DEADLINE (seconds since 1970) says when there is no time for them
skip=()
if [ "$(($(date +%s) + 900))" -lt "${ABLATE_DEADLINE:-9999999999}" ]; then
    suite real_experiments
else
    echo "SKIPPED: no time was left for experiments/ on the real model; scripts/real-suite.sh runs them"
fi
