#!/usr/bin/env python3
"""Compares what `ablate capture` writes with the same hooks of TransformerLens, for the tiny GPT-2 and Llama.

usage: check-capture.py ABLATE [--write]

ABLATE is the program. The checkpoints and their token sequences (of different lengths) are those of the test kit; the
weights are as stored, in f64. Prints the largest difference of every hook; ends with 1 when one is above 1e-10, with 77
(SKIPPED) without TransformerLens. With --write, TransformerLens's values after the first sequence go to
golden/hooks.json beside the checkpoint, for the tests.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights, convert_llama_weights
    from transformers import AutoModelForCausalLM
except ImportError as missing:
    print(f"SKIPPED: {missing}; the check against TransformerLens did not run", file=sys.stderr)
    sys.exit(77)

TINY = pathlib.Path(__file__).parent.parent / "crates/ablate-testkit/golden/tiny"
HOOKS = "resid_pre,scale1,q,k,v,pattern,z,attn_out,resid_mid,scale2,pre,post,mlp_out,resid_post"
LIMIT = 1e-10


def gpt2(c):
    return HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_heads=c.n_head, d_head=c.n_embd // c.n_head,
        d_mlp=c.n_inner or 4 * c.n_embd, d_vocab=c.vocab_size, n_ctx=c.n_positions, act_fn="gelu_new",
        normalization_type="LN", eps=c.layer_norm_epsilon, dtype=torch.float64, device="cpu",
        original_architecture="GPT2LMHeadModel")


def llama(c):
    grouped = c.num_key_value_heads != c.num_attention_heads
    return HookedTransformerConfig(
        n_layers=c.num_hidden_layers, d_model=c.hidden_size, n_heads=c.num_attention_heads,
        n_key_value_heads=c.num_key_value_heads if grouped else None, d_head=c.head_dim, d_mlp=c.intermediate_size,
        d_vocab=c.vocab_size, n_ctx=64, act_fn="silu", normalization_type="RMS", final_rms=True, gated_mlp=True,
        positional_embedding_type="rotary", rotary_adjacent_pairs=False, rotary_dim=c.head_dim,
        rotary_base=int(c.rope_theta), eps=c.rms_norm_eps, dtype=torch.float64, device="cpu",
        original_architecture="LlamaForCausalLM")


def check(program, arch, shape, convert, hooks, write):
    folder = TINY / arch
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    config = shape(plain.config)
    model = HookedTransformer(config)
    model.load_state_dict(convert(plain, config), strict=False)
    model = model.to(torch.float64).eval()
    sequences = [s["tokens"] for s in json.loads((folder / "logits.json").read_text())["sequences"]]
    worst = {}
    with tempfile.TemporaryDirectory() as at:
        data, acts = pathlib.Path(at) / "data.jsonl", pathlib.Path(at) / "acts"
        data.write_text("".join(json.dumps({"clean_tokens": s, "answer_tokens": [0]}) + "\n" for s in sequences))
        run = [program, "capture", folder, data, "--hooks", hooks, "--dtype", "f64", "-o", acts, "-q"]
        subprocess.run(run, check=True, capture_output=True)
        for i, tokens in enumerate(sequences):
            n = len(tokens)
            with torch.no_grad():
                _, cache = model.run_with_cache(torch.tensor([tokens]))
            for file in acts.glob("blocks.*.npy"):
                name = file.stem
                ours, theirs = np.load(file)[i], cache[name][0].numpy()
                ours = ours[:, :n, :n] if "pattern" in name else ours[:n]
                assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
                kind = name.split(".", 2)[2]
                worst[kind] = max(worst.get(kind, 0.0), float(np.abs(ours - theirs).max()))
            if i == 0 and write:
                last = {k: v[0, :, -1] if "pattern" in k else v[0, -1] for k, v in cache.items() if k.startswith("blocks.")}
                names = {f.stem for f in acts.glob("blocks.*.npy")}
                values = {k: [float(f"{x:.13g}") for x in v.flatten().tolist()] for k, v in last.items() if k in names}
                golden = {"format": "ablate-golden/hooks", "version": 1, "tokens": tokens, "position": n - 1, "hooks": values}
                (folder / "golden/hooks.json").write_text(json.dumps(golden, sort_keys=True) + "\n")
    print(arch, " ".join(f"{kind} {x:.1e}" for kind, x in sorted(worst.items())))
    return max(worst.values())


def main():
    program, write = sys.argv[1], "--write" in sys.argv[2:]
    program = str(pathlib.Path(program).resolve())
    found = [
        check(program, "gpt2", gpt2, convert_gpt2_weights, HOOKS, write),
        check(program, "llama", llama, convert_llama_weights, HOOKS + ",pre_linear", write),
    ]
    sys.exit(0 if max(found) <= LIMIT else 1)


if __name__ == "__main__":
    main()
