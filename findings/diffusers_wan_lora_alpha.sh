#!/usr/bin/env bash
# diffusers 0.42.1 refuses a Wan LoRA in ComfyUI's naming for an alpha outside the blocks, and leaves modulation out unsaid.
#
# A good guess: a file whose blocks load with their alphas loads with those of the embeddings and the head, too, and what a
# pipeline cannot use it names. But alphas are read of the blocks' layers alone: one beside text_embedding, time_embedding,
# time_projection or head is left over, and the whole file is refused ("state_dict should be empty"); the same layer
# without its alpha loads. A difference of the blocks' modulation is dropped without a word. Trainers write all of these.
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


def lora(layer, alpha=True):
    found = {
        f"diffusion_model.{layer}.lora_down.weight": torch.zeros(2, 8),
        f"diffusion_model.{layer}.lora_up.weight": torch.zeros(8, 2),
    }
    return {**found, f"diffusion_model.{layer}.alpha": torch.tensor(2.0)} if alpha else found


block = {}
for layer in (*(f"{part}_attn.{name}" for part in ("self", "cross") for name in "qkvo"), "ffn.0", "ffn.2"):
    block |= lora(f"blocks.0.{layer}")


def result(extra):
    try:
        return len(WanPipeline.lora_state_dict({**block, **extra}))
    except ValueError as error:
        return f"ValueError: {str(error)[:60]}"


seen = {
    "blocks alone": result({}),
    "text_embedding": result(lora("text_embedding.0", alpha=False)),
    "text_embedding with alpha": result(lora("text_embedding.0")),
    "head with alpha": result(lora("head.head")),
    "time_projection with alpha": result(lora("time_projection.1")),
    "modulation": result({"diffusion_model.blocks.0.modulation.diff": torch.ones(1, 6, 8)}),
}
for name, found in seen.items():
    print(f"{name}: {found if isinstance(found, str) else f'{found} tensors'}")
refused = all("should be empty" in str(found) for name, found in seen.items() if name.endswith("with alpha"))
as_before = (seen["blocks alone"], seen["text_embedding"], seen["modulation"]) == (20, 22, 20)
sys.exit(0 if refused and as_before else "This has changed.")
PYTHON
