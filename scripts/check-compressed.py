#!/usr/bin/env python3
"""Compares a folder written by `ablate compress` as transformers loads it with the same folder as ablate does.

usage: check-compressed.py ABLATE FOLDER [--tokens 1,2,3 | PROMPT ...] [--limit 1e-3]

Compares all logits after the last token, and the tokens of the prompts where the folder has a tokenizer. Prints one
line a prompt; ends with 1 when a difference is above the limit, with 77 (SKIPPED) without transformers.
"""
import argparse
import json
import subprocess
import sys

try:
    import torch
    import transformers
except ImportError as missing:
    print(f"SKIPPED: {missing}; the check against transformers did not run", file=sys.stderr)
    sys.exit(77)


def ablate(program, folder, text):
    """Token ids and all logits after the last one."""
    given = ["--tokens", text] if isinstance(text, str) and text.replace(",", "").isdigit() else [text]
    command = [program, "predict", folder, *given, "--top", "100000000", "--json", "-", "--offline", "-q"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result["tokens"], {row["id"]: row["logit"] for row in result["top"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablate")
    parser.add_argument("folder")
    parser.add_argument("prompts", nargs="*")
    parser.add_argument("--tokens", action="append", default=[])
    parser.add_argument("--limit", type=float, default=1e-3)
    args = parser.parse_args()
    prompts = args.tokens + args.prompts
    if not prompts:
        parser.error("give a PROMPT or --tokens")

    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        args.folder, torch_dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    model.eval()
    wrong = {key: list(value) for key, value in report.items() if value and key != "error_msgs"}
    if wrong:
        print(f"transformers reports {wrong}")
        return 1
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.folder) if args.prompts else None
    failed = False
    for prompt in prompts:
        ids, mine = ablate(args.ablate, args.folder, prompt)
        if tokenizer is not None and prompt in args.prompts:
            theirs = tokenizer(prompt)["input_ids"]
            if theirs != ids:
                print(f"{prompt!r}: tokens {theirs}, but ablate has {ids}")
                failed = True
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        gap = max(abs(logits[i].item() - x) for i, x in mine.items())
        failed |= not gap <= args.limit or len(mine) != logits.numel()
        print(f"{prompt!r}: {len(mine)} logits, largest difference {gap:.2e}")
    print(f"{'FAILED' if failed else 'ok'}: {args.folder}, transformers {transformers.__version__}")
    return 1 if failed else 0


sys.exit(main())
