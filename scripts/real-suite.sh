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

# a circuit of heads as a smaller checkpoint, loaded again here and by transformers
python="${ABLATE_PYTHON:-python3}"
members=$(for layer in $(seq 0 29); do for head in 0 1 2 3 4 5; do printf '"a%s.h%s",' "$layer" "$head"; done; done)
echo "{\"level\": \"node\", \"members\": [${members%,}]}" > "$out/heads.json"
"$ablate" compress "$model" "$out/heads.json" "$out/ioi.jsonl" -o "$out/small" --json "$out/small.json"
"$ablate" predict "$out/small" "The capital of France is" --top 3
code=0
"$python" scripts/check-compressed.py "$ablate" "$out/small" "The capital of France is" \
    "When Mary and John went to the store, John gave a drink to" || code=$?
if [ "$code" = 77 ]; then
    echo "SKIPPED: no transformers for $python (name another with ABLATE_PYTHON): the compressed model was not checked against it"
elif [ "$code" != 0 ]; then
    exit "$code"
fi
