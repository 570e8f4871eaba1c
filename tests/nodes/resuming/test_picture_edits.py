"""An edit of a picture that is killed in any step, while it reasons or after that, goes on with the same bits."""

from __future__ import annotations

import logging
import os
import signal

import pytest
import torch
from wan_director.dit.conditioning.start_image import KeyframeImages, keyframe_mask
from wan_director.dit.inputs import Conditioning
from wan_director.engine.editing.ends import ends_of
from wan_director.engine.editing.picture import PictureClip, run_picture_edit
from wan_director.engine.resuming.kept import NO_RUNS_KEPT
from wan_director.engine.sampling.settings import SamplerSettings

from .conftest import at_step, files, killed, load

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of this one")
STEPS, REASONING = 4, 2
SETTINGS = SamplerSettings(seed=3, steps=STEPS, cfg=3.0, solver="unipc", schedule="official")


def clips() -> tuple[PictureClip, PictureClip]:
    """The ends, and the whole clip, of a picture and two texts."""
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randn(1, 512, 128, generator=generator) for _ in range(2)]
    latent, mask = torch.randn(1, 16, 8, 6, 8, generator=generator), keyframe_mask([0], 29, 6, 8)
    whole, ends = KeyframeImages(latent, mask), KeyframeImages(ends_of(latent), ends_of(mask))
    return (
        PictureClip(*(Conditioning(text, (ends,)) for text in texts), torch.zeros(1, 16, 2, 6, 8)),
        PictureClip(*(Conditioning(text, (whole,)) for text in texts), torch.zeros(1, 16, 8, 6, 8)),
    )


def edited(model) -> torch.Tensor:
    return run_picture_edit(model, *clips(), SETTINGS, REASONING)


def test_an_edit_that_was_killed_goes_on_with_the_same_bits(kept, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    model = load("i2v.safetensors")
    model.runtime.kept_runs = NO_RUNS_KEPT
    expected = edited(model)
    model.runtime.kept_runs = kept
    for step in range(STEPS):

        def run(step: int = step) -> None:
            with at_step(model, step, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                edited(model)

        killed(run)
        caplog.clear()
        assert torch.equal(edited(model), expected)
        where = f"Sampling goes on after step {step} of {STEPS}"
        assert any(where in line for line in caplog.messages) == (step > 0)
        assert files(kept) == []
