"""Encoding speed against Hugging Face's tokenizers, in turns on one thread; and whether both agree.

    python bench/tokenizer_peer.py build/bench/tokenizer_bench TOKENIZER_FOLDER... [--rounds 9] [--mb 2]

Prose and code are files of this machine (documentation, the standard library's sources), CJK is drawn from the
tokenizer's own words by a Zipf-like law. CPU seconds of either process; medians and quartiles.
`encode_batch_fast` makes no offsets; ours makes both kinds of spans.
"""
import argparse
import glob
import os
import random
import statistics
import subprocess
import sysconfig
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402  (reads the variables above)

DOCUMENT = 2000


def from_files(patterns, limit):
    out, size = [], 0
    for pattern in patterns:
        for path in sorted(glob.glob(pattern, recursive=True)):
            try:
                with open(path, encoding="utf-8", newline="") as file:
                    text = file.read(60000)
            except (UnicodeDecodeError, OSError):
                continue
            out.append(text)
            size += len(text.encode())
            if size > limit:
                return "\n".join(out)
    return "\n".join(out)


def cjk(tokenizer, limit):
    rnd = random.Random(1)
    words = []
    for i in range(tokenizer.get_vocab_size()):
        text = tokenizer.decode([i])
        if text and all("\u3040" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" for c in text):
            words.append(text)
    weights = [1 / (rank + 20) for rank in range(len(words))]
    out, size = [], 0
    while size < limit:
        out.append("".join(rnd.choices(words, weights, k=rnd.randint(5, 20))) + rnd.choice("，。、！？"))
        size += len(out[-1].encode())
    return "".join(out)


def corpora(tokenizer, limit):
    stdlib = sysconfig.get_path("stdlib")
    yield "prose", from_files(["/usr/share/common-licenses/*", "/usr/share/perl/**/*.pod",
                               "/usr/share/doc/**/README*", "/usr/share/doc/**/*.txt"], limit)
    yield "code", from_files([stdlib + "/**/*.py"], limit)
    yield "cjk", cjk(tokenizer, limit)


def cut(data):
    """The same documents as tokenizer_bench cuts."""
    out, begin = [], 0
    while begin < len(data):
        end = min(begin + DOCUMENT, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        out.append(data[begin:end].decode())
        begin = end
    return out


class Ours:
    def __init__(self, program, folder, text):
        self.process = subprocess.Popen([program, f"--tokenizer={folder}", f"--text={text}", "--rounds=0"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, kind):
        self.process.stdin.write(kind + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def round(self, kind):
        return float(self.ask(kind))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def checksum(tokenizer, documents):
    total = 0
    for encoding in tokenizer.encode_batch(documents, add_special_tokens=False):
        for i in encoding.ids:
            total = (total * 31 + i) % 2**64
    return total


def timed(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def shown(seconds):
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{1e3 * middle:9.1f} ms ({1e3 * low:.1f} .. {1e3 * high:.1f})"


def compare(args, folder):
    path = os.path.join(folder, "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    name = os.path.basename(os.path.normpath(folder))
    for kind, text in corpora(tokenizer, args.mb * 1e6):
        if args.kinds and kind not in args.kinds.split(","):
            continue
        data = text.encode()
        documents = cut(data)
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            file.write(data)
            file.flush()
            ours = Ours(args.program, folder, file.name)
            if int(ours.ask("check")) != checksum(tokenizer, documents):
                raise SystemExit(f"{name} {kind}: the ids differ")
            runs = {"encode_batch_fast": lambda: timed(lambda: tokenizer.encode_batch_fast(
                        documents, add_special_tokens=False)),
                    "spans": lambda: ours.round("spans"), "cold": lambda: ours.round("cold"),
                    "ids": lambda: ours.round("ids")}
            if kind == "prose":
                runs |= {"peer load": lambda: timed(lambda: Tokenizer.from_file(path)),
                         "load": lambda: ours.round("load")}
            for run in runs.values():
                run()  # Warm.
            seconds = {key: [] for key in runs}
            for _ in range(args.rounds):
                for key, run in runs.items():
                    seconds[key].append(run())
            ours.close()
        peer = statistics.median(seconds["encode_batch_fast"])
        for key, values in seconds.items():
            middle = statistics.median(values)
            rate = "" if "load" in key else f"{len(data) / middle / 1e6:8.2f} MB/s, {peer / middle:6.2f}x"
            print(f"{name:12} {kind:6} {key:18} {shown(values)} {rate}", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program")
parser.add_argument("folders", nargs="+")
parser.add_argument("--rounds", type=int, default=9)
parser.add_argument("--mb", type=float, default=2.0)
parser.add_argument("--kinds", default="")
arguments = parser.parse_args()
for tokenizer_folder in arguments.folders:
    compare(arguments, tokenizer_folder)
