"""InfiniteTalk: what one or two people say inside every block, against ComfyUI's outputs."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, adapted
from wan_director.dit.branches.audio.talk import TalkBranch, TalkInput
from wan_director.dit.branches.module import BranchModule
from wan_director.dit.conditioning.audio.talk import (
    TOGETHER,
    TalkScene,
    joined_voices,
    spoken_frames,
    video_features,
)
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.slabs import Slabs

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = runpy.run_path(str(FIXTURES / "talk_models.py"))
EXPECTED = load_file(FIXTURES / "talk_outputs.safetensors")
BRANCH = TalkBranch(SMALL["SIZES"]["layers"], **SMALL["TALK"])
PLAIN = DiTConfig(**SMALL["SIZES"], in_channels=SMALL["CHANNELS"])
CONFIG = PLAIN.with_branches((BRANCH,))
WAYS = {
    "kept": Execution(),
    "overwritten": Execution(may_overwrite=True),
    "lean": Execution(may_overwrite=True, lean=Lean(10, run=30)),
    "leanest": Execution(may_overwrite=True, lean=Lean(8, keys_in_groups=True, run=17)),
}


@pytest.fixture(scope="module")
def model() -> WanDiT:
    """With the weights that ComfyUI's had: the trunk's and those of its own file. Nothing writes into it."""
    trunk, module = WanDiT(PLAIN), BranchModule(PLAIN.with_branches((BRANCH,)))
    for part in (trunk, module):
        part.load_state_dict(
            SMALL["random_like"]({key: tuple(value.shape) for key, value in part.state_dict().items()})
        )
    return trunk.with_branches(module).eval().requires_grad_(False)


def voices(people: int, together: str = TOGETHER[0]) -> torch.Tensor:
    return joined_voices([video_features(SMALL["random_layers"](sound)) for sound in range(people)], together)


def scene(people: int = 1, start: str = "first", scale: float = 1.0) -> TalkScene:
    features = spoken_frames(voices(people), SMALL["SHAPE"][0], SMALL["START"][start])
    masks = SMALL["random_inputs"]().masks[:, ::8, ::8] > 0
    return TalkScene(features, masks if people == 2 else None, scale)


def inputs_of(people: int = 1, start: str = "first", scale: float = 1.0) -> DitInputs:
    asked = SMALL["random_inputs"]()
    inputs = Conditioning(asked.text, (scene(people, start, scale),)).inputs(asked.latent, asked.timestep)
    return replace(inputs, image_channels=asked.beside)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("start", SMALL["START"])
@pytest.mark.parametrize("people", [1, 2])
def test_velocity_equals_comfyui(model, people, start, way):
    """With the audio layers of a file of its own, in every way to run a block."""
    weights = sum(value.double().sum() for value in model.state_dict().values())
    torch.testing.assert_close(weights.reshape(1), EXPECTED["weights"])  # else the fixture is of other weights
    assert_same(model(inputs_of(people, start), WAYS[way]), EXPECTED[f"{people} {start}"])


def test_the_scale_of_what_is_heard_is_comfyuis(model):
    expected = EXPECTED["2 first scaled"]
    assert (expected - EXPECTED["2 first"]).abs().max() > 0.1 * expected.abs().max()
    assert_same(model(inputs_of(2, scale=-0.7)), expected)


@pytest.mark.parametrize("start", SMALL["START"])
@pytest.mark.parametrize("people", [1, 2])
def test_what_is_said_is_heard_as_in_comfyui(model, people, start):
    """Also in a later chunk, and where the sound ends before it does."""
    said = model.audio_proj(scene(people, start).features, begins=True)  # [1, people, T, tokens, width]
    expected = EXPECTED[f"{people} heard {start}"]
    found = said.transpose(1, 2).flatten(2, 3)
    assert found.shape == expected.shape and (found - expected).abs().max() <= 2e-6 * expected.abs().max()
