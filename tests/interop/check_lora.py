#!/usr/bin/env python3
"""One optimizer step on a LoRA adapter: `retort run` against PEFT.

    check_lora.py RETORT MODEL

PEFT makes a random adapter of the causal language model in the folder MODEL. Retort (the program
RETORT) trains it for one step of SFT; torch trains it with the same rows, loss and AdamW. The two
adapters must agree within 1e-6, the model's files must be unchanged, and PEFT must load what Retort
wrote. Wants torch, transformers and peft; exits with 1 if something differs. Not part of ctest: no
Python is needed to build or test Retort.
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import peft
import torch
import transformers

TOLERANCE = 1e-6
LEARNING_RATE, WEIGHT_DECAY, BETAS, EPS = 1e-3, 0.1, (0.9, 0.95), 1e-4
ROWS = [("Echoes of", " vectors unfold"), ("The night", ", a gentle hum"), ("I", " dream of numbers"),
        ("A path of light", " descends")]


def job(model, folder):
    return f"""
name: check-lora
algorithm: {{type: sft, steps: 1, sft: {{batch_size: {len(ROWS)}}}}}
policy:
  path: {model}
  lora: {{path: {folder}/start}}
data: {{train: {folder}/rows.jsonl}}
optimizer:
  learning_rate: {LEARNING_RATE}
  weight_decay: {WEIGHT_DECAY}
  beta1: {BETAS[0]}
  beta2: {BETAS[1]}
  eps: {EPS}
  max_grad_norm: null
  lr_schedule: constant
output: {{dir: {folder}/run}}
"""


def random_adapter(model):
    torch.manual_seed(1)
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0,
                             task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(base, config)
    with torch.no_grad():  # PEFT starts B at zero, which would leave A without a gradient.
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return adapted


def encode(retort, model, text):
    out = subprocess.run([retort, "tokenize", "--model", model, "--no-special-tokens", "--json", text],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)["ids"]


def train(adapted, retort, model):
    adapted.train()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=LEARNING_RATE,
                                  betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)
    total, count = 0.0, 0
    for prompt, response in ROWS:
        before = encode(retort, model, prompt)
        after = encode(retort, model, response) + [adapted.config.eos_token_id]
        logits = adapted(input_ids=torch.tensor([before + after])).logits[0, len(before) - 1:-1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(after), reduction="sum")
        count += len(after)
    (total / count).backward()
    optimizer.step()


def digest(model):
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in pathlib.Path(model).iterdir()}


def main():
    retort, model = sys.argv[1], str(pathlib.Path(sys.argv[2]).resolve())
    files = digest(model)
    with tempfile.TemporaryDirectory() as folder:
        adapted = random_adapter(model)
        adapted.save_pretrained(folder + "/start")
        start = {k: v.clone() for k, v in peft.get_peft_model_state_dict(adapted).items()}
        rows = [json.dumps({"prompt": p, "response": r}) for p, r in ROWS]
        pathlib.Path(folder, "rows.jsonl").write_text("\n".join(rows) + "\n")
        pathlib.Path(folder, "job.yaml").write_text(job(model, folder))
        subprocess.run([retort, "run", folder + "/job.yaml"], check=True, stdout=subprocess.DEVNULL)
        train(adapted, retort, model)
        want = peft.get_peft_model_state_dict(adapted)
        base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        got = peft.get_peft_model_state_dict(peft.PeftModel.from_pretrained(base, folder + "/run/adapter"))
    if got.keys() != want.keys():
        sys.exit(f"tensors differ: {sorted(got.keys() ^ want.keys())}")
    error = max((got[k] - want[k]).abs().max().item() for k in want)
    moved = min((want[k] - start[k]).abs().max().item() for k in want)
    same = digest(model) == files
    print(f"{'same' if error <= TOLERANCE else 'DIFFERS'} {len(want)} tensors max_err={error:.1e}, each moved by "
          f"{moved:.1e} or more; base files {'unchanged' if same else 'CHANGED'}; peft {peft.__version__}")
    return error > TOLERANCE or not same or moved < 10 * TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
