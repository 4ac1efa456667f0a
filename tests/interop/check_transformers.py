#!/usr/bin/env python3
"""Models that Retort wrote, loaded by Transformers.

    check_transformers.py RETORT MODELS [OUTPUTS]

For every model folder in MODELS: `retort model convert` (the program RETORT) writes the model anew,
Transformers loads the original and the copy, and their logits (or scores) must agree within 2e-4 on
ragged, left-padded input. Transformers 4 misreads some folders that 5 wrote (rope_parameters), but must
not misread the copies: with OUTPUTS, a run under Transformers 5 stores the originals' outputs in that
file, and one under Transformers 4 compares with those. Wants Transformers 4 or 5 and torch; prints one line a model, exits with 1 if one differs.
Not part of ctest: no Python is needed to build or test Retort.
"""
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers

TOLERANCE = 2e-4


def load(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    scores = (config.architectures or [""])[0].endswith("ForSequenceClassification")
    cls = (transformers.AutoModelForSequenceClassification if scores
           else transformers.AutoModelForCausalLM)
    model, info = cls.from_pretrained(folder, output_loading_info=True,
                                      attn_implementation="eager")
    # A tied head is not in the file, which is as it should be.
    tied = set(getattr(model, "_tied_weights_keys", None) or [])
    missing = set(info["missing_keys"]) - tied
    if missing or info["unexpected_keys"] or info["mismatched_keys"]:
        raise ValueError(f"keys: {missing} {info['unexpected_keys']} {info['mismatched_keys']}")
    return model.float().eval()


def outputs(model):
    generator = torch.Generator().manual_seed(1)
    vocabulary = model.config.vocab_size
    ids = torch.randint(3, vocabulary, (3, 20), generator=generator)
    mask = torch.ones_like(ids)
    for row, padding in enumerate((0, 5, 11)):
        mask[row, :padding] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    arguments = {"input_ids": ids, "attention_mask": mask}
    if model.config.model_type != "opt":
        arguments["position_ids"] = positions
    with torch.no_grad():
        logits = model(**arguments).logits
    return logits * mask[..., None] if logits.dim() == 3 else logits


def check(retort, folder, wanted):
    """A line about the copy of `folder`, and whether it is wrong. `wanted`: outputs by folder name."""
    with tempfile.TemporaryDirectory() as copy:
        try:
            subprocess.run([retort, "model", "convert", str(folder), copy], check=True,
                           stdout=subprocess.DEVNULL)
            if folder.name not in wanted:
                wanted[folder.name] = outputs(load(folder))
            error = (outputs(load(copy)) - wanted[folder.name]).abs().max().item()
        except Exception as problem:  # Whatever a library says of a folder: the others are checked too.
            return f"FAILED {folder.name}: {problem}", True
    wrong = not error <= TOLERANCE
    return f"{'DIFFERS' if wrong else 'same'} {folder.name} max_err={error:.1e}", wrong


def main():
    retort, models = sys.argv[1:3]
    store = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    wanted = torch.load(store) if store and store.exists() else {}
    failed = 0
    for folder in sorted(pathlib.Path(models).iterdir()):
        if (folder / "config.json").exists():
            line, wrong = check(retort, folder, wanted)
            print(line)
            failed += wrong
    if store:
        torch.save(wanted, store)
    print(f"transformers {transformers.__version__}: {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
