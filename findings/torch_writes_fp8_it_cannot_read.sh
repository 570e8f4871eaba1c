#!/usr/bin/env bash
# torch.save writes fp8 and uint16 tensors in its old (non-zip) form without a word, and torch.load cannot read them.
#
# A good guess is that the form of the file has nothing to do with the number format: bf16 and int8 go both ways, and a
# checkpoint that saves without an error is a checkpoint. For the younger formats the old form stores a bare storage
# and its dtype beside it; loading asks the bare storage for its dtype, and fails with an AttributeError that names
# neither fp8 nor the form. With weights_only=False it is the same. The zip form of the same table is fine.
# Exits with 1 when torch behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch

print("torch", torch.__version__)
results = {}
for dtype in (torch.bfloat16, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16):
    for zipped in (True, False):
        torch.save({"w": torch.ones(4).to(dtype)}, "x.pth", _use_new_zipfile_serialization=zipped)
        outcomes = []
        for safe in (True, False):
            try:
                torch.load("x.pth", weights_only=safe)
                outcomes.append("read")
            except AttributeError as error:
                outcomes.append(f"AttributeError: {error}")
        results[dtype, zipped] = outcomes
        print(dtype, "zip form:" if zipped else "old form:", outcomes)
young = (torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16)
fails = all("AttributeError" in outcome for dtype in young for outcome in results[dtype, False])
reads = all(outcome == "read" for (dtype, zipped), both in results.items() if zipped or dtype not in young for outcome in both)
sys.exit(0 if fails and reads else 1)
PYTHON
