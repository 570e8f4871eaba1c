"""Pictures of subjects behind the video (Phantom), against recorded outputs of ComfyUI's own class."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.dit.conditioning.characters.subjects import SubjectPicture
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.conditioning.in_context import context_sizes
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, lean_ways
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.rope import TokenPlaces, make_rope

FIXTURES = Path(__file__).parent / "fixtures"
RANDOM = runpy.run_path(str(FIXTURES / "animate_models.py"))["random_like"]
MODEL, EXPECTED = (
    runpy.run_path(str(FIXTURES / "phantom_models.py")),
    load_file(FIXTURES / "phantom_outputs.safetensors"),
)
CONFIG = DiTConfig(**MODEL["SIZES"])


@pytest.fixture(scope="module")
def model() -> WanDiT:
    return build()


def build() -> WanDiT:
    made = WanDiT(CONFIG)
    weights = RANDOM({name: tuple(value.shape) for name, value in made.state_dict().items()})
    made.load_state_dict(weights)
    total = sum(value.double().sum() for value in weights.values())
    torch.testing.assert_close(total.reshape(1), EXPECTED["weights"])  # else the fixture is of other weights
    return made.eval().requires_grad_(False)


def inputs_of(pictures: int) -> DitInputs:
    latent, timestep, text, behind = MODEL["random_inputs"](pictures)
    clips = () if behind is None else behind.split(1, dim=2)
    shown = tuple(SubjectPicture(each, number) for number, each in enumerate(clips))
    return DitInputs(latent, timestep, text, in_context=shown)


@pytest.mark.parametrize("name", MODEL["CASES"])
def test_velocity_equals_comfyui(model, name):
    velocity, expected = model(inputs_of(MODEL["CASES"][name])), EXPECTED[name]
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (velocity - expected).norm() <= 5e-6 * expected.norm()


@pytest.mark.parametrize("lean", lean_ways(2))
def test_lean_blocks_give_the_same(model, lean):
    velocity, expected = model(inputs_of(4), Execution(may_overwrite=True, lean=lean)), EXPECTED["four pictures"]
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_pictures_stand_behind_the_video_also_where_time_is_stretched(model):
    places = TokenPlaces(scale=(2.0, 1.0, 1.0), shift=(0.5, 0.0, 0.0))
    rope = model.embed(replace(inputs_of(2), places=places)).context.rope
    row = make_rope(CONFIG.head_dim, (5, 3, 5), places=places)
    assert torch.equal(rope, torch.cat([row[:, 45:], row[:, :45]], dim=1))


def test_a_blank_picture_is_zeros_and_no_absent_one(model):
    inputs = inputs_of(1)
    blank = model(replace(inputs, in_context=tuple(clip.unshown() for clip in inputs.in_context)))
    assert (blank - model(inputs)).norm() > 1e-3 * blank.norm()
    assert (blank - EXPECTED["none"]).norm() > 1e-3 * blank.norm()


def test_windows_see_all_pictures_and_tiles_whole_ones():
    pictures = tuple(SubjectPicture(torch.full((1, 16, 1, 6, 10), float(number)), number) for number in (0, 1))
    prompt = Conditioning(torch.zeros(1, 512, 48), in_context=pictures)
    seen = prompt.window(Cut(1, 3, 3, rows=Span(0, 4, 6))).in_context
    assert [(clip.behind, clip.latent.shape[3:]) for clip in seen] == [(0, (6, 10)), (1, (6, 10))]
    assert [size.tokens((2, 6, 10), 3) for size in context_sizes(pictures)] == [15, 15]


def test_what_does_not_go_together_is_refused(model):
    inputs = inputs_of(1)
    with pytest.raises(InvalidInputError, match="There is a picture of a subject for Phantom and a timestep for each"):
        model(replace(inputs, timestep=torch.zeros(2, 3)))
    with pytest.raises(PairingError, match="takes no pictures of subjects for Phantom. Choose a Phantom model"):
        inputs.in_context[0].check(DiTConfig(**MODEL["SIZES"], in_channels=36), inputs.latent)
    wide = SubjectPicture(torch.zeros(1, 48, 1, 6, 10), 0)
    with pytest.raises(PairingError, match="A picture of a subject for Phantom is 1 latents of 48 channels"):
        wide.check(CONFIG, inputs.latent)
