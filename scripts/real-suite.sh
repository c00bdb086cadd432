#!/usr/bin/env bash
# The real-model suite on SmolLM2-135M, 20 minutes or so on two cores:
# numbers against the independent reference, then the transcripts of docs/guide, the memory that runs take, and what
# `compress` writes as transformers loads it (with the Python that ABLATE_PYTHON names, else python3).
set -euo pipefail
cd "$(dirname "$0")/.."
export ABLATE_REAL=1
# both in one build
cargo test --release -p ablate -p ablate-cli --test it real_ -- --nocapture --test-threads 1
