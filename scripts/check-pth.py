#!/usr/bin/env python3
"""Checks InterpBench folders that ablate wrote with PyTorch and, where it is installed, TransformerLens.

usage: check-pth.py FOLDER... [--like GOLDEN]

Of each folder (`ll_model_cfg.pkl`, `ll_model.pth`, `edges.pkl`, `meta.json`): Python unpickles settings and edges,
`torch.load(weights_only=True)` reads the weights, and TransformerLens builds a model of the settings that takes the
weights, none missing and none left over, and runs. With --like, the folder's settings, edges and weights equal
those of GOLDEN, weights bit for bit. With --logits FILE, a JSON list of {"tokens": [...], "logits": [[...], ...]}, the
model's logits are compared (largest difference below --limit). Prints one line a folder; ends with 1 when something
differs, with 77 (SKIPPED) without PyTorch.
"""
import argparse
import json
import pickle
import sys
from pathlib import Path

try:
    import torch
except ImportError as missing:
    print(f"SKIPPED: {missing}; the check against PyTorch did not run", file=sys.stderr)
    sys.exit(77)
try:
    from transformer_lens import HookedTransformer, HookedTransformerConfig
except ImportError:
    HookedTransformer = None


def unpickled(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def parts(folder):
    state = torch.load(folder / "ll_model.pth", weights_only=True)
    return unpickled(folder / "ll_model_cfg.pkl"), state, unpickled(folder / "edges.pkl")


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes()


def compare(found, golden):
    """What differs between two folders."""
    (settings, state, edges), (settings2, state2, edges2) = found, golden
    wrong = [key for key in {*settings, *settings2} if key not in settings or settings.get(key) != settings2.get(key)]
    if list(settings) != list(settings2):
        wrong.append("order of settings")
    if list(state) != list(state2):
        wrong.append("names of tensors")
    wrong += [name for name in state2 if name in state and not same_bits(state[name], state2[name])]
    return wrong + (["edges"] if edges != edges2 else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--like", type=Path)
    parser.add_argument("--logits", type=Path)
    parser.add_argument("--limit", type=float, default=1e-8)
    args = parser.parse_args()
    failed = False
    for folder in args.folders:
        settings, state, edges = parts(folder)
        json.loads((folder / "meta.json").read_text())
        wrong = compare((settings, state, edges), parts(args.like)) if args.like else []
        said = f"{len(settings)} settings, {len(state)} tensors, {len(edges)} edges"
        if HookedTransformer:
            model = HookedTransformer(HookedTransformerConfig.from_dict(settings))
            # buffers of rotation are computed again by PyTorch, so they differ in the last digit
            own = {k: v.clone() for k, v in model.state_dict().items() if "rotary" in k}
            model.load_state_dict(state)
            wrong += [k for k, v in own.items() if not torch.allclose(v, state[k], atol=1e-4)]
            cases = json.loads(args.logits.read_text()) if args.logits else []
            cases = cases.get("sequences", cases) if isinstance(cases, dict) else cases
            with torch.no_grad():
                model(torch.zeros(1, settings["n_ctx"], dtype=torch.long))
                gaps = [
                    (model(torch.tensor([c["tokens"]]))[0] - torch.tensor(c["logits"], dtype=model.cfg.dtype)).abs().max().item()
                    for c in cases
                ]
            if gaps:
                said += f", logits within {max(gaps):.1e}"
                wrong += ["logits"] if max(gaps) > args.limit else []
        print(f"{folder}: {said}: {'differs: ' + ', '.join(wrong) if wrong else 'ok'}")
        failed |= bool(wrong)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
