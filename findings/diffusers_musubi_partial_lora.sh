#!/usr/bin/env bash
# diffusers 0.42.1 reads a Wan LoRA in musubi-tuner's naming only where it has every layer of every block from block 0 on.
#
# A good guess: a LoRA of the attention alone, or of some blocks, loads as it does in ComfyUI's naming of the same layers;
# a LoRA is a sum, and what a file does not name it does not change. But the converter of the kohya form counts the
# different numbers of blocks, goes from 0 to that count, and takes ten layers of each: without feed-forward, or with blocks
# 1 and 2 alone, it ends with "KeyError: 'blocks_0_ffn_0.lora_down.weight'", which names no file and no reason. The same
# tensors in ComfyUI's naming all load.
#
# Exits with 1 when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 diffusers==0.42.1 transformers==5.13.1 \
    peft==0.21.2 accelerate==1.15.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from diffusers import WanPipeline

print("diffusers", version("diffusers"), "torch", version("torch"), "peft", version("peft"))
ATTENTION = [f"{part}_attn.{name}" for part in ("self", "cross") for name in "qkvo"]
ALL = [*ATTENTION, "ffn.0", "ffn.2"]


def lora(blocks, layers, musubi):
    found = {}
    for layer in (f"blocks.{block}.{layer}" for block in blocks for layer in layers):
        root = "lora_unet_" + layer.replace(".", "_") if musubi else f"diffusion_model.{layer}"
        found[f"{root}.lora_down.weight"] = torch.zeros(2, 8)
        found[f"{root}.lora_up.weight"] = torch.zeros(8, 2)
        found[f"{root}.alpha"] = torch.tensor(2.0)
    return found


def result(blocks, layers, musubi):
    try:
        return f"{len(WanPipeline.lora_state_dict(lora(blocks, layers, musubi)))} tensors"
    except (KeyError, ValueError) as error:
        return f"{type(error).__name__}: {str(error)[:70]}"


seen = []
for name, blocks, layers in (
    ("blocks 0 and 1, all layers", (0, 1), ALL),
    ("blocks 0 and 1, attention", (0, 1), ATTENTION),
    ("blocks 1 and 2, all layers", (1, 2), ALL),
):
    seen.append((result(blocks, layers, True), result(blocks, layers, False)))
    print(f"{name}: musubi-tuner's naming: {seen[-1][0]}; ComfyUI's naming: {seen[-1][1]}")
whole, attention, later = seen
as_before = whole == ("40 tensors", "40 tensors") and attention[1] == "32 tensors" and later[1] == "40 tensors"
refused = all(each[0].startswith("KeyError: 'blocks_0_") for each in (attention, later))
sys.exit(0 if as_before and refused else "This has changed.")
PYTHON
