#!/usr/bin/env python3
"""Decoding and training with Hugging Face transformers: what decode_bench and train_bench measure, for the same shapes.

    python3 bench/gpu_peer.py decode --shape gpt2-124m --batch 1,256 [--device cuda] [--dtype bfloat16] [--compile]
    python3 bench/gpu_peer.py train  --shape gpt2-124m [--device cuda] [--dtype bfloat16] [--compile]

Random weights, greedy, forced lengths. Decoding takes the faster of a dynamic and a static cache (with --compile also a
compiled one), training a fused AdamW with bf16 autocast for bfloat16. Prints medians and quartiles of --rounds.
"""
import argparse
import statistics
import sys
import time

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("what", choices=["decode", "train"])
ap.add_argument("--shape", default="gpt2-124m", choices=["llama-10m", "gpt2-124m", "qwen2-0.5b"])
ap.add_argument("--device", default="cuda")
ap.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
ap.add_argument("--batch", default="1,256", help="decode: batch sizes; train: sequences")
ap.add_argument("--prompt", type=int, default=32)
ap.add_argument("--new", type=int, default=128)
ap.add_argument("--len", type=int, default=512)
ap.add_argument("--rounds", type=int, default=7)
ap.add_argument("--compile", action="store_true", help="also torch.compile; minutes of warm-up")
args = ap.parse_args()

try:
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config
except ImportError as error:
    sys.exit(f"gpu_peer: {error}; pip install transformers")

torch.backends.cuda.matmul.allow_tf32 = False
CONFIGS = {
    "llama-10m": LlamaConfig(hidden_size=320, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4,
                             intermediate_size=864, vocab_size=4096, max_position_embeddings=4096,
                             tie_word_embeddings=True),
    "gpt2-124m": GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
    "qwen2-0.5b": Qwen2Config(hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
                              intermediate_size=4864, vocab_size=151936, max_position_embeddings=32768,
                              tie_word_embeddings=True),
}


def build(dtype):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(CONFIGS[args.shape]).to(args.device, dtype)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def synchronize():
    if args.device == "cuda":
        torch.cuda.synchronize()


def measure(run, tokens):
    rates = []
    for round_number in range(-1, args.rounds):
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        if round_number >= 0:
            rates.append(tokens / (time.perf_counter() - start))
    low, _, high = statistics.quantiles(rates, n=4) if len(rates) > 1 else rates * 3
    return statistics.median(rates), low, high


def show(label, variant, result):
    print(f"transformers {args.shape} {args.device} {args.dtype} {label} [{variant}]  "
          f"{result[0]:.1f} tok/s ({result[1]:.1f} .. {result[2]:.1f})", flush=True)


def decode():
    model = build(getattr(torch, args.dtype)).eval()
    variants = {"dynamic": {}, "static": {"cache_implementation": "static", "disable_compile": True}}
    if args.compile:
        variants["compiled"] = {"cache_implementation": "static"}
    for batch in map(int, args.batch.split(",")):
        ids = torch.randint(3, model.config.vocab_size - 300, (batch, args.prompt), device=args.device)
        results = {}
        for name, options in variants.items():
            def run():
                with torch.no_grad():
                    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                                         max_new_tokens=args.new, min_new_tokens=args.new, **options)
                assert out.shape[1] == args.prompt + args.new
            results[name] = measure(run, batch * args.new)
        best = max(results, key=lambda name: results[name][0])
        show(f"decode B={batch}", best, results[best])


def train():
    model = build(torch.float32).train()
    batch = int(args.batch.split(",")[0]) if args.batch != "1,256" else 8
    ids = torch.randint(3, model.config.vocab_size, (batch, args.len), device=args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=args.device == "cuda")
    forward = torch.compile(model) if args.compile else model

    def run():
        optimizer.zero_grad()
        with torch.autocast(args.device, torch.bfloat16, enabled=args.dtype == "bfloat16"):
            loss = forward(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()

    show(f"train {batch * args.len} tokens an update", "compiled" if args.compile else "eager",
         measure(run, batch * args.len))


{"decode": decode, "train": train}[args.what]()
