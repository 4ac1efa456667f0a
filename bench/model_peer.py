#!/usr/bin/env python3
"""Decoding and scoring against Hugging Face transformers, interleaved: each round runs every side once.

    venv/bin/python bench/model_peer.py PEERS MODELS [--rounds 5] [--only REGEX]

PEERS is a folder with hf_generate.py and hf_score.py, MODELS one with llama-10m and gpt2-124m, which
both sides load. The peer runs with one and with two threads and each of its cache or log-softmax
variants; the fastest by its median counts. Prints medians with quartiles and the ratio.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(HERE, "..", "build", "bench")

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("peers")
ap.add_argument("models")
ap.add_argument("--rounds", type=int, default=5)
ap.add_argument("--only", default="")
ap.add_argument("--threads", type=int, default=2)
args = ap.parse_args()

# name: (our program and flags, the peer's script and flags)
SCORE = ["--batch=8", "--len=256"]
RAGGED = "32"
CASES = {
    "decode llama-10m": (["decode_bench", "--model={m}/llama-10m"], ["hf_generate.py", "--model", "{m}/llama-10m"]),
    "decode gpt2-124m": (["decode_bench", "--model={m}/gpt2-124m"],
                         ["hf_generate.py", "--model", "{m}/gpt2-124m", "--batch", "1,16", "--new", "64"]),
    "score llama-10m even": (["score_bench", "--model={m}/llama-10m", "--head_vocab=4096"],
                             ["hf_score.py", "--model", "{m}/llama-10m"]),
    "score llama-10m ragged": (["score_bench", "--model={m}/llama-10m", "--head_vocab=4096", "--shortest=" + RAGGED],
                               ["hf_score.py", "--model", "{m}/llama-10m"]),
    "score llama-10m V=151936": (["score_bench", "--model={m}/llama-10m", "--head_vocab=151936"],
                                 ["hf_score.py", "--model", "{m}/llama-10m", "--head-vocab", "151936"]),
}
CASES["decode gpt2-124m"][0].append("--new_tokens=64")


def lines(command, env=None):
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout.splitlines()


def ours(spec):
    """{label: (seconds or tokens per second, text of the line)} of one round."""
    command = [os.path.join(BENCH, spec[0]), *(a.format(m=args.models) for a in spec[1:]),
               f"--threads={args.threads}", "--rounds=1"]
    found = {}
    for line in lines(command):
        batch = re.search(r"B=(\d+)", line)
        rate = float(re.search(r"([\d.]+) tok/s", line).group(1))
        share = re.search(r"share (\d+)%", line)
        memory = re.search(r"memory \+(\d+) MB", line)
        extra = float(share.group(1)) if share else float(memory.group(1))
        found[f"B={batch.group(1)}" if batch else "all"] = (rate, extra)
    return found


def theirs(spec, threads):
    command = [sys.executable, os.path.join(args.peers, spec[0]), *(a.format(m=args.models) for a in spec[1:]),
               "--threads", str(threads), "--rounds", "1"]
    report = json.loads(lines(command)[-1])
    found = {}
    for result in report["results"]:
        batch = re.search(r"B=(\d+) prompt", result["case"])
        label = f"B={batch.group(1)}" if batch else "all"
        for variant, stats in result["variants"].items():
            found[(label, f"{variant} {threads}t")] = (stats["tokens_per_s"], stats["peak_rss_mb"])
    return found


def spread(values):
    values = sorted(values)
    q = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return f"{statistics.median(values):.1f} ({max(q[0], values[0]):.1f} .. {min(q[2], values[-1]):.1f})"


for name, (mine, peer) in CASES.items():
    if not re.search(args.only, name):
        continue
    own, other = {}, {}
    for _ in range(args.rounds):
        for label, value in ours(mine).items():
            own.setdefault(label, []).append(value)
        for threads in (1, 2):
            for key, value in theirs(peer, threads).items():
                other.setdefault(key, []).append(value)
    for label, values in own.items():
        rate = [v[0] for v in values]
        variants = {k[1]: [v[0] for v in vs] for k, vs in other.items() if k[0] == label}
        best = max(variants, key=lambda v: statistics.median(variants[v]))
        # Ragged: the peer pads every sequence to the longest, so its rate of real tokens is lower.
        real = 1.0
        if "ragged" in name:
            lengths = [int(RAGGED) + (256 - int(RAGGED)) * s // 7 for s in range(8)]
            real = sum(lengths) / (8 * 256)
        theirs_rate = [r * real for r in variants[best]]
        ratio = statistics.median(rate) / statistics.median(theirs_rate)
        print(f"{name} {label}: {spread(rate)} tok/s; peer [{best}] {spread(theirs_rate)}; {ratio:.2f}x; "
              f"extra {statistics.median(v[1] for v in values):.0f}", flush=True)
