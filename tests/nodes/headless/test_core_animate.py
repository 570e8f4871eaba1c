"""WanAnimateToVideo gives what ComfyUI's own gives, recorded; and what Wan Animate makes otherwise, and why."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ..conftest import call
from .conftest import core

FIXTURES = Path(__file__).parent / "fixtures"
CASES, EXPECTED = runpy.run_path(str(FIXTURES / "animate_cases.py")), load_file(FIXTURES / "animate_values.safetensors")
PROMPT = [[torch.zeros(1, 2, 3), {}]]


@pytest.mark.parametrize("number", range(7))
def test_the_values_are_those_of_comfyui(number):
    case = list(CASES["cases"]())[number]
    *sides, latent, trim, repeated, following = core(
        "WanAnimateToVideo", positive=PROMPT, negative=PROMPT, vae=CASES["PlainVAE"](), **case
    )
    assert [trim, repeated, following] == EXPECTED[f"{number} numbers"].tolist()
    assert list(latent["samples"].shape) == EXPECTED[f"{number} latent"].tolist()
    for side, conditioning in zip(("positive", "negative"), sides):
        values = conditioning[0][1]
        stem = f"{number} {side} "
        assert {f"{stem}{name}" for name in values} == {name for name in EXPECTED if name.startswith(stem)}
        for name, value in values.items():
            kept = value[..., ::64, ::64] if name == "face_video_pixels" else value
            torch.testing.assert_close(kept, EXPECTED[stem + name], rtol=0, atol=1e-6)
    assert PROMPT[0][1] == {}


def test_our_node_counts_the_mask_from_the_first_frame_as_the_official_code_does(inference):
    """There the first frame of a mask is four channels; ComfyUI's node takes the first four frames for them."""
    masks = torch.zeros(9, 48, 64)
    masks[:1] = 1
    scene = {"background_video": torch.full((9, 48, 64, 3), 0.3), "character_mask": masks}
    shared = {"positive": PROMPT, "negative": PROMPT, "vae": CASES["PlainVAE"](), "width": 64, "height": 48}
    native, *_ = core(
        "WanAnimateToVideo", **shared, length=9, batch_size=1, continue_motion_max_frames=5, video_frame_offset=0,
        reference_image=torch.zeros(1, 48, 64, 3), **scene,
    )  # fmt: skip
    shared["vae"].latent_channels = 16
    ours, *_ = call(
        "Animate", **shared, frames=9, batch_size=1, fit="crop", continue_motion_max_frames=5, video_frame_offset=0,
        reference_image=torch.zeros(1, 48, 64, 3), **scene,
    )  # fmt: skip
    found = [made[0][1]["concat_mask"][0, :, 1, 0, 0].tolist() for made in (native, ours)]
    assert found == [[1, 0, 0, 0], [1, 1, 1, 1]]
    assert torch.equal(native[0][1]["concat_latent_image"], ours[0][1]["concat_latent_image"])
