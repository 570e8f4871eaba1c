"""Wan Sampler in ComfyUI draws another seed for each run: the one of a run that was broken off is named."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from wan_director.engine.models import with_policies
from wan_director.sampling.windows import WHOLE_CLIP, SlidingWindows

from ..conftest import call, encode
from ..conftest import load as load_model
from .conftest import Stopped, at_step
from .test_run_files import told_of_kin


@pytest.mark.parametrize("masked", [False, True], ids=["new", "masked"])
@pytest.mark.parametrize("windows", [WHOLE_CLIP, SlidingWindows(2, 1)], ids=["whole", "windows"])
def test_wan_sampler_names_the_seed_of_a_run_that_was_broken_off(windows, masked, kept, tiny_host, caplog):
    """The node's noise is that of its seed, also behind a mask, and in another order in windows."""
    caplog.set_level(logging.INFO, "wan_director")
    model = with_policies(load_model("t2v.safetensors"), lambda policies: replace(policies, windows=windows))
    positive, negative = encode("text.safetensors")
    latent = {"samples": torch.zeros(1, 16, 3, 6, 8)} | ({"noise_mask": torch.full((6, 8), 0.5)} if masked else {})

    def run(seed: int) -> torch.Tensor:
        return call(
            "Sampler", model=model, positive=positive, negative=negative, latent=latent, seed=seed, steps=4, cfg=3.0,
            shift=5.0, solver="euler", schedule="simple", denoise=1.0,
        )["samples"]  # fmt: skip

    def stop() -> None:
        raise Stopped

    with at_step(model, 2, stop), pytest.raises(Stopped):
        run(42)
    caplog.clear()
    run(43)
    assert len(told_of_kin(caplog)) == 1 and "with seed 42 was broken off after step 2 of 4" in told_of_kin(caplog)[0]
