"""Graphs of what directs the sampler, beside those of `graphs`."""

from __future__ import annotations

from ..headless.conftest import node
from .graphs import keyframes, t2v, travelling


def in_one_pass() -> dict:
    prompt = travelling()
    prompt["travel"]["inputs"]["method"] = "attention"
    return prompt


def moving_image() -> dict:
    """Wan Motion with what it changes of a start image."""
    prompt = keyframes()
    prompt["moving"] = node(
        "WanDirectorMotion", model=["model", 0], amount=0.5, method="time", words_end=1.0, calm_words="still",
        lively_words="fast", low_pass=0.4, low_pass_end=0.6, amplify=1.15,
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["moving", 0]
    return prompt


def at_a_speed() -> dict:
    """Speed control by a module and its motion bucket."""
    prompt = t2v()
    prompt["model"]["inputs"]["speed_module"] = "speed_module.safetensors"
    prompt["moving"] = node(
        "WanDirectorMotion", model=["model", 0], amount=0.0, method="time", words_end=1.0, calm_words="still",
        lively_words="fast", motion_bucket=70,
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["moving", 0]
    return prompt


DIRECTING = {made.__name__: made for made in (in_one_pass, moving_image, at_a_speed)}
