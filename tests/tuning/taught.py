"""A file as a training of the bundled model writes it, with an effect that can be seen."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from wan_director.dit.adapters import trainable, trainable_parameters
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT, TEXT_ENCODER
from wan_director.text_encoder.encode import encode_prompt
from wan_director.tuning.new_adapter import AdapterSettings, new_adapter
from wan_director.tuning.saving import save_lora

MODELS = Path(__file__).parents[2] / "models"
TRANSFORMER = MODELS / "diffusion_models/wan_director_tiny_demo_t2v.safetensors"


@torch.no_grad()
def taught_file(path: Path) -> Path:
    """All matrices, rank 4, alpha 6; both factors away from zero, as after some steps."""
    adapter = trainable(new_adapter("taught", load(DIT, TRANSFORMER).module, AdapterSettings(rank=4, alpha=6.0), 0))
    for number, value in enumerate(trainable_parameters(adapter).values()):
        value.add_(0.03 * torch.randn(value.shape, generator=torch.Generator().manual_seed(number)))
    save_lora(adapter, path, {"wan_director.trigger": "sks"})
    return path


def trigger_text() -> Tensor:
    """What the text encoder makes of a prompt with the trigger, [1, 512, 128]."""
    text = load(TEXT_ENCODER, MODELS / "text_encoders/wan_director_tiny_demo_text_encoder.safetensors")
    return encode_prompt(text.module, text.tokenizer, "a sks pink square moves up on a blue background")
