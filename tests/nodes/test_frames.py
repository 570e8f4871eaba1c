"""How far it is from a node to the arithmetic: what a reader of a stack trace walks through."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import wan_director

from .conftest import call, encode, load

ROOT = Path(wan_director.__file__).resolve().parent
MOST = 20
"""Each a seam: planning, sharing, resuming, solver, given frames, retry, windows, cache (two), stage and trunk among
them."""


def room(frame: traceback.FrameSummary) -> str:
    """The folder of the pack that a frame is in."""
    path = Path(frame.filename).resolve()
    return path.relative_to(ROOT).parts[0] if path.is_relative_to(ROOT) else ""


@pytest.mark.usefixtures("inference")
def test_few_frames_lie_between_a_node_and_a_block():
    model, stacks = load("t2v.safetensors"), []
    positive, negative = encode("text.safetensors")
    vae = call("LoadVAE", vae_name="vae.safetensors", precision="auto")
    latent = call("EmptyLatent", vae=vae, width=64, height=48, frames=5, batch_size=1)
    handle = model.residence.module.blocks[0].register_forward_pre_hook(
        lambda *_call: stacks.append(traceback.extract_stack())
    )
    settings = {"seed": 1, "steps": 1, "cfg": 1.0, "shift": 5.0, "solver": "euler", "schedule": "simple"}
    call("Sampler", model=model, positive=positive, negative=negative, latent=latent, denoise=1.0, **settings)
    handle.remove()
    own = [frame for frame in stacks[0] if room(frame) in ("nodes", "engine", "sampling", "dit", "memory", "weights")]
    (start,) = (number for number, frame in enumerate(own) if frame.name == "execute")
    between = own[start + 1 :]
    assert 5 < len(between) <= MOST, [f"{Path(frame.filename).name} {frame.name}" for frame in between]
