"""A LoRA file for both experts of Wan 2.2: each gets its own part of it."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import save_file

from .conftest import HIGH, LOW, call, encode, load, save_experts

pytestmark = pytest.mark.usefixtures("inference")
SAMPLER = {"seed": 3, "steps": 4, "cfg": 1.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


@pytest.fixture(autouse=True, scope="module")
def experts(models):
    save_experts(models)


def write_lora(models, name: str, seeds: dict[str, int]) -> str:
    """A LoRA of the first block's query, for each prefix another one."""
    tensors = {}
    for prefix, seed in seeds.items():
        generator = torch.Generator().manual_seed(seed)
        for half, shape in (("A", (4, 48)), ("B", (48, 4))):
            tensors[f"{prefix}blocks.0.attn1.to_q.lora_{half}.weight"] = 0.3 * torch.randn(shape, generator=generator)
    (models / "loras").mkdir(exist_ok=True)
    save_file(tensors, models / "loras" / name)
    return name


def with_lora(model, name: str):
    settings = {"strength": 1.0, "blocks": "all", "start_percent": 0.0, "end_percent": 1.0, "merge": False}
    return call("Lora", model=model, lora_name=name, **settings)


def pair(high, low):
    return call("Experts", high_noise=high, low_noise=low, low_noise_cfg=0.0, high_noise_steps=2)


def sample(model) -> torch.Tensor:
    positive, negative = encode("text.safetensors")
    latent = {"samples": torch.zeros(1, 16, 3, 6, 8)}
    inputs = {"model": model, "positive": positive, "negative": negative, "latent": latent}
    return call("Sampler", **inputs, **SAMPLER)["samples"]


@pytest.mark.parametrize("prefixes", [("transformer.", "transformer_2."), ("pipe.dit.", "pipe.dit2.")])
def test_of_a_lora_for_both_experts_each_gets_its_own_part(models, prefixes):
    """As if each expert had been given its part alone, before the two were joined."""
    both = write_lora(models, "both.safetensors", dict(zip(prefixes, (1, 2))))
    first = write_lora(models, "first.safetensors", {"transformer.": 1})
    second = write_lora(models, "second.safetensors", {"transformer.": 2})
    expected = sample(pair(with_lora(load(HIGH), first), with_lora(load(LOW), second)))
    assert torch.equal(sample(with_lora(pair(load(HIGH), load(LOW)), both)), expected)
    assert not torch.equal(sample(with_lora(pair(load(HIGH), load(LOW)), first)), expected)


def test_one_model_says_which_part_it_got(models, caplog):
    both = write_lora(models, "told.safetensors", {"transformer.": 1, "transformer_2.": 2})
    with caplog.at_level(logging.WARNING, "wan_director"):
        with_lora(load(HIGH), both)
    assert "holds LoRAs for both experts of a Wan 2.2 pair; a14b_high_noise.safetensors gets the one for" in caplog.text
