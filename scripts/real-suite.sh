#!/usr/bin/env bash
# The real-model suite on SmolLM2-135M, 20 minutes or so on two cores:
# numbers against the independent reference, then the transcripts of docs/guide and the memory that runs take.
set -euo pipefail
cd "$(dirname "$0")/.."
export ABLATE_REAL=1
cargo test --release -p ablate --test it real_ -- --nocapture --test-threads 1
cargo test --release -p ablate-cli --test it real_ -- --nocapture --test-threads 1
