#!/usr/bin/env python3
"""Seconds from the start of `retort score` to the log-prob of two tokens, models and thread counts in turns.

    bench/loading.py MODEL... [--rounds 9] [--threads 1,2]

The page cache must be warm: the first round is not counted. Prints median, quartiles and the fastest.
Models of a wanted size: `retort model init`.
"""
import argparse
import os
import statistics
import subprocess
import time

RETORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "bin", "retort")

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("models", nargs="+")
ap.add_argument("--rounds", type=int, default=9)
ap.add_argument("--threads", default="1,2")
args = ap.parse_args()

seconds = {}
for round_ in range(-1, args.rounds):
    for model in args.models:
        for threads in args.threads.split(","):
            start = time.monotonic()
            subprocess.run([RETORT, "score", "--model", model, "--prompt", "a", "--completion", " b",
                            "--threads", threads], check=True, stdout=subprocess.DEVNULL)
            if round_ >= 0:
                seconds.setdefault((model, threads), []).append(time.monotonic() - start)
for (model, threads), values in seconds.items():
    low, middle, high = statistics.quantiles(values, n=4)
    print(f"{model}, {threads} threads: {middle:.2f} s ({low:.2f} .. {high:.2f}), fastest {min(values):.2f}")
