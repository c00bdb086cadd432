#!/usr/bin/env bash
# The real-model suite: the main job on SmolLM2-135M, from a data set to a pruned circuit with a held-out score.
set -euo pipefail
cd "$(dirname "$0")/.."
model=models/SmolLM2-135M-Instruct.Q4_1.gguf
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cargo build --release -p ablate-cli
ablate=target/release/ablate
[ -n "${CARGO_TARGET_DIR:-}" ] && ablate="$CARGO_TARGET_DIR/release/ablate"

"$ablate" inspect "$model"
"$ablate" predict "$model" "When Mary and John went to the store, John gave a drink to" --top 3
"$ablate" task ioi --model "$model" -n 24 --seed 0 -o "$out/ioi.jsonl"
"$ablate" sweep "$model" "$out/ioi.jsonl" --nodes 'a{16,17,20,23}.*' --ablation zero --top 5
"$ablate" sweep "$model" "$out/ioi.jsonl" --nodes 'a{16,17,20,23}.*' --ablation resample --top 5
