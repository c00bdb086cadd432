#!/usr/bin/env python3
"""Makes the tiny HookedTransformer folders of the test kit with TransformerLens.

usage: make-hooked-golden.py FOLDER

Each variant is a folder with the settings as a pickled HookedTransformerConfig, random weights, and `logits.json`: the
logits of a few sequences, computed in f64.
"""
import json
import pickle
import sys
from pathlib import Path

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

SHAPE = dict(n_layers=2, d_model=8, n_ctx=6, d_head=4, n_heads=4, d_mlp=12, d_vocab=7, device="cpu")
VARIANTS = {
    "adjacent": dict(normalization_type="LN", positional_embedding_type="rotary", rotary_adjacent_pairs=True, act_fn="silu"),
    "grouped": dict(normalization_type="RMSPre", positional_embedding_type="rotary", use_NTK_by_parts_rope=True,
                    NTK_original_ctx_len=8, act_fn="gelu_new", n_key_value_heads=2, gated_mlp=True),
    "bidirectional": dict(normalization_type="LNPre", act_fn="relu", attention_dir="bidirectional", d_vocab_out=3, dtype=torch.float64),
    "attention": dict(normalization_type="LN", attn_only=True, attn_scores_soft_cap=5.0, output_logits_soft_cap=3.0),
    "bf16": dict(normalization_type=None, act_fn="gelu", dtype=torch.bfloat16),
    "local": dict(normalization_type="RMS", act_fn="gelu_fast", parallel_attn_mlp=True, use_local_attn=True, window_size=3,
                  attn_types=["local", "global"], use_attn_scale=False),
}


def main():
    for name, settings in VARIANTS.items():
        torch.manual_seed(1)
        model = HookedTransformer(HookedTransformerConfig(**SHAPE, **settings))
        for key, parameter in model.named_parameters():
            gated_bias = "b_in" in key and settings.get("gated_mlp", False)
            parameter.data = torch.zeros_like(parameter) if gated_bias else torch.randn_like(parameter) * 0.4
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / "ll_model.pth")
        with open(folder / "ll_model_cfg.pkl", "wb") as file:
            pickle.dump(model.cfg, file, protocol=2 if name == "adjacent" else 4)
        model, cases = model.double(), []
        model.cfg.dtype = torch.float64
        for _ in range(3):
            tokens = torch.randint(0, SHAPE["d_vocab"], (1, SHAPE["n_ctx"]))
            with torch.no_grad():
                cases.append({"tokens": tokens[0].tolist(), "logits": model(tokens)[0].tolist()})
        (folder / "logits.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main()
