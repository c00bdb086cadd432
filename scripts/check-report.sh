#!/usr/bin/env bash
# Makes reports on a built-in model, one of them from hostile files, and uses them in headless Chromium (scripts/check-report.mjs);
# so with the pages of `ablate view` (scripts/check-view.mjs).
# Screenshots go to target/report-screenshots, or to the folder that ABLATE_SCREENSHOTS names.
# Exit 0: passed. Exit 3: no browser can be had here; says SKIPPED loudly. Anything else: failed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
out=${ABLATE_SCREENSHOTS:-$root/target/report-screenshots}

skip() {
    echo "SKIPPED: the report was not tried in a browser: $1" >&2
    exit 3
}

command -v node >/dev/null 2>&1 || skip "there is no node"
export ABLATE_CHROMIUM=${ABLATE_CHROMIUM:-/usr/bin/chromium}
if [ ! -x "$ABLATE_CHROMIUM" ]; then
    command -v apt-get >/dev/null 2>&1 || skip "there is no chromium, and no apt-get to install it"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 ||
        skip "chromium cannot be installed (is there a network? are you root?)"
fi
tools=$root/target/report-tools
if [ ! -d "$tools/node_modules/puppeteer-core" ]; then
    mkdir -p "$tools"
    npm install --prefix "$tools" --silent --no-audit --no-fund puppeteer-core@25.16.0 >/dev/null 2>&1 ||
        skip "puppeteer-core cannot be installed (is there a network?)"
fi
export ABLATE_NODE_MODULES=$tools

ablate=${ABLATE:-}
if [ -z "$ablate" ]; then
    cargo build -p ablate-cli
    ablate=${CARGO_TARGET_DIR:-$root/target}/debug/ablate
fi
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
run() { "$ablate" -q "$@" >/dev/null; }
model=builtin:induction
run task induction --model $model -n 40 --set corruption=no-repeat -o induction.jsonl
run sweep $model induction.jsonl --ablation resample --json heads.json
run sweep $model induction.jsonl --nodes all --ablation mean --json all.json
run rank-curve $model induction.jsonl --ablation mean --json curve.json
run patch $model induction.jsonl --site resid-pre --by layer,position --json grid.json
run patch $model induction.jsonl --site head-out --by layer,head --json grid-heads.json
run prune $model induction.jsonl --ablation resample --test-fraction 0.3 --json circuit.json
run prune $model induction.jsonl --ablation resample --order random --orders 3 --json random.json
run compare circuit.json random.json --model $model --data induction.jsonl --ablation resample --json comparison.json
run discover $model induction.jsonl --method eap-ig-inputs --certify 30 --json scores.json
run select scores.json --top 12 --absolute --prune -o edges.json
run verify $model edges.json induction.jsonl --curve --scores scores.json --tests --random 20 --completeness --minimality --json evaluation.json
run case effects 3 -n 20 --scales 0,0.5,1,2 --json effects.json
run predict $model "cat dog bird cat" --json prediction.json
run interactions $model induction.jsonl --nodes a0.h2,a2.h1 --degree 2 --json interactions.json
run scrub $model "$root/hypotheses/induction.toml" induction.jsonl --json scrub.json
run backups $model induction.jsonl --group a2.h1 --ablation resample --json backups.json
run case score --method exact,eap-ig-inputs,random --cases 3,13 -n 20 --json methods.json
run report heads.json all.json curve.json grid.json grid-heads.json circuit.json random.json comparison.json scores.json edges.json \
    evaluation.json effects.json prediction.json interactions.json scrub.json backups.json methods.json \
    -o "$out/whole.html" --markdown "$out/whole.md" --figures "$out/figures" --model $model --data induction.jsonl --prompts 2
run report heads.json -o "$out/small.html"
run demo -o "$out/demo.html"
# run folders make their own reports; the second experiment with a short training
run run "$root/experiments/000-interactions.toml" -o 000
sed -e 's/case train 3 -o {train\/model}/& --inputs 600 --epochs 1/' -e 's/--case 3 --scales/--case 3 -n 12 --scales/' \
    "$root/experiments/001-node-effects.toml" >001.toml
run run 001.toml -o 001
mkdir runs
mv 000 001 runs
cp runs/000/report.html "$out/experiment-000.html"
cp runs/001/report.html "$out/experiment-001.html"
# names, prompts and warnings that would run if they were markup; a file cut short, one of another version, one of another program
python3 - <<'P'
import json
bad = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1><!--\u2028`<svg onload=hacked=1>`"
trace = json.load(open("circuit.json"))
trace["warnings"] = [bad]
trace["order"] = bad
trace["manifest"]["program"] = bad
trace["manifest"]["command"] = ["ablate", bad]
trace["manifest"]["model"]["name"] = bad
trace["manifest"]["data"]["task"] = "javascript:hacked=1"
for step in trace["steps"]:
    step["candidate"] = bad
json.dump(trace, open("hostile.json", "w"))
tree = {"name": bad, "x": bad, "children": [{"name": "=1+1", "children": []}]}
json.dump({"format": "ablate/scrub", "version": 1, bad: bad, "tree": tree}, open("hostile-scrub.json", "w"))
json.dump({"format": "ablate/interactions", "version": 1, "terms": [{"nodes": [bad, "b"], "coefficient": 1}]}, open("hostile-i.json", "w"))
json.dump({"format": "ablate/signals", "version": 1, "senders": [bad], "receivers": bad, "rows": [
    {"kind": bad, "verdict": "carried", "score": {"value": 1, "interval": [0, 2]}, "attention": [{"to": bad, "weight": {"value": 1, "interval": [0, 1]}}]}]},
          open("hostile-s.json", "w"))
json.dump({"format": "ablate/prediction", "version": 1, "texts": [bad], "top": [{"token": bad, "id": 1, "logit": 1, "probability": 1}]},
          open("hostile-p.json", "w"))
open("cut.json", "w").write(open("heads.json").read()[:900])
json.dump({"format": "ablate/trace", "version": 2}, open("newer.json", "w"))
json.dump({"format": "ablate/unheard-of", "version": 1}, open("unknown.json", "w"))
row = {"clean_tokens": [9, 17, 3, 9], "corrupt_tokens": [9, 17, 3, 5], "answer_tokens": [17], "wrong_answer_tokens": [3]}
open("tokens.jsonl", "w").write(json.dumps(row) + "\n")
P
cp hostile.json '<img src=x onerror=hacked=1>.json'
run report hostile.json '<img src=x onerror=hacked=1>.json' hostile-scrub.json hostile-i.json hostile-s.json hostile-p.json cut.json newer.json unknown.json \
    heads.json -o "$out/hostile.html" --markdown "$out/hostile.md" --figures "$out/hostile-figures" --model $model --data tokens.jsonl
for part in "cut" "newer" "unknown"; do
    grep -q "$part" "$out/hostile.md" || { echo "FAILED: the report does not name $part.json" >&2; exit 1; }
done
"$ablate" view runs --no-open --port 0 >view.log 2>&1 &
viewer=$!
trap 'kill $viewer 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 100); do
    url=$(grep -o 'http://[0-9.:]*/' view.log | head -1) && [ -n "$url" ] && break
    sleep 0.1
done
cd "$root"
node scripts/check-view.mjs "$out" "$url" "$work/runs" "$ablate" "$root/experiments/000-interactions.toml"
node scripts/check-report.mjs "$out" "$out/whole.html" "$out/small.html" "$out/demo.html" "$out/hostile.html" "$out/experiment-000.html" "$out/experiment-001.html"
echo "screenshots: ${out#"$root"/}"
