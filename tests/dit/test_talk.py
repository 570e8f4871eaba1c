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
    """Nothing writes into it."""
    return build()


def build() -> WanDiT:
    """With the weights that ComfyUI's had: the trunk's and those of its own file."""
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
    # 1.7e-6 at most on a processor of Intel, 2.5e-6 on one of AMD
    assert found.shape == expected.shape and (found - expected).abs().max() <= 5e-6 * expected.abs().max()


def test_a_model_whose_layers_nothing_steers_is_as_without_them(model):
    plain = WanDiT(PLAIN).eval().requires_grad_(False)
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key in plain.state_dict()})
    unsteered = replace(inputs_of(), steering=())
    assert torch.equal(model(unsteered), plain(unsteered))
    assert (model(inputs_of()) - plain(unsteered)).norm() > 1e-2 * plain(unsteered).norm()
    scaled = inputs_of(2, scale=0.0)
    torch.testing.assert_close(model(scaled), plain(unsteered), rtol=0, atol=1e-6)


def test_a_sound_is_heard_in_its_own_frame(model):
    """Of one block, whose self-attention gives nothing."""
    branch = replace(BRANCH, blocks=1)
    alone = WanDiT(replace(PLAIN, layers=1, branches=(branch,))).eval().requires_grad_(False)
    state = {key: value for key, value in model.state_dict().items() if key in alone.state_dict()}
    state |= {f"blocks.0.self_attn.o.{leaf}": 0 * state[f"blocks.0.self_attn.o.{leaf}"] for leaf in ("weight", "bias")}
    alone.load_state_dict(state)
    (given,) = inputs_of().steering
    features = given.features.clone()
    features[:, :, 1] = 0
    inputs = inputs_of()
    changed = (alone(inputs) - alone(replace(inputs, steering=(given._replace(features=features),)))).abs()
    assert changed[:, :, 1].max() > 1e-3 and not changed[:, :, [0, 2, 3]].any()


def test_the_trunk_and_its_own_file_are_shared(model):
    """A model with more layers holds those that there were, and takes no more memory."""
    trunk, module = WanDiT(PLAIN), BranchModule(CONFIG)
    both = trunk.with_branches(module)
    shared = {id(parameter) for part in (trunk, module) for parameter in part.parameters()}
    assert {id(parameter) for parameter in both.parameters()} == shared
    assert both.state_dict().keys() == WanDiT(CONFIG).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("lean", [None, Lean(10, run=40)])
def test_videos_of_a_batch_share_what_is_said_and_look_for_themselves(model, lean, people):
    inputs = inputs_of(people)
    both = replace(
        inputs, latent=torch.cat([inputs.latent, inputs.latent.flip(3)]), timestep=inputs.timestep.repeat(2),
        text=inputs.text.repeat(2, 1, 1), image_channels=inputs.image_channels.repeat(2, 1, 1, 1, 1),
    )  # fmt: skip
    execution = Execution(may_overwrite=True, lean=lean)
    together = model(both, execution)
    for index, latent in enumerate((inputs.latent, inputs.latent.flip(3))):
        alone = model(replace(inputs, latent=latent), execution)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=3e-6 * alone.abs().max().item())


def test_passes_together_give_the_same_bits(model):
    passes = [inputs_of(1), inputs_of(2), replace(inputs_of(), steering=())]
    together = model.forward_together(passes)
    assert all(torch.equal(one, model(each)) for one, each in zip(together, passes))


@pytest.mark.parametrize("way", ["kept", "overwritten", "lean"])
def test_what_steers_is_never_written_into(model, way):
    inputs = inputs_of(2)
    (given,) = inputs.steering
    copies = given.features.clone(), given.masks.clone()
    model(inputs, WAYS[way])
    assert torch.equal(given.features, copies[0]) and torch.equal(given.masks, copies[1])


@pytest.mark.parametrize("people", [1, 2])
def test_swapped_blocks_change_nothing(model, people):
    inputs = inputs_of(people)
    expected = model(inputs, WAYS["overwritten"])
    with BlockSwap(2, 0).streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        for lean in (None, Lean(10, run=40)):
            found = model(inputs, Execution(may_overwrite=True, stream=stream, lean=lean))
            assert_same(found, expected)
            assert lean is not None or torch.equal(found, expected)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("merge", [False, True])
def test_changes_of_its_layers_equal_changed_weights(model, swapped, merge):
    """A LoRA may change the layers that hear as well as the others, also in blocks that are swapped."""
    changed, inputs = WanDiT(CONFIG).eval().requires_grad_(False), inputs_of(2)
    changed.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(4)
    inside = "blocks.1.audio_cross_attn."
    names = [
        f"{inside}q_linear.weight", f"{inside}kv_linear.bias", f"{inside}proj.weight", "blocks.0.norm_x.weight",
        "audio_proj.proj2.weight", "audio_proj.norm.bias", "blocks.1.ffn.0.weight",
    ]  # fmt: skip
    added = {name: 0.02 * torch.randn(changed.get_parameter(name).shape, generator=generator) for name in names}
    changes = {name: (Change(Full(value)),) for name, value in added.items()}
    memory = BlockSwap(2, 0) if swapped else RESIDENT
    with (
        adapted(changed, [AppliedAdapter(Adapter("test", changes), 0.5, merge=merge)]),
        memory.streaming(changed.streamed_blocks, torch.device("cpu"), Slabs()) as stream,
    ):
        velocity = changed(inputs, Execution(stream=stream))
    plain = changed(inputs)
    for name, value in added.items():
        changed.get_parameter(name).data.add_(value, alpha=0.5)
    expected = changed(inputs)
    assert_same(velocity, expected)
    assert (plain - expected).abs().max() > 1e-3 * expected.abs().max()


def test_gradients_reach_all_of_it():
    branch = TalkBranch(1, 8, 4, 16, 8)
    small = WanDiT(replace(PLAIN, layers=1, branches=(branch,)))
    (given,) = inputs_of(2).steering
    features = torch.randn(1, 2, 4, 8, 12, 8, generator=torch.Generator().manual_seed(3))
    inputs = replace(inputs_of(2), steering=(given._replace(features=features),))
    small(inputs, Execution(checkpoints=True)).square().mean().backward()
    kept = {name: parameter.grad for name, parameter in small.named_parameters()}
    assert all(grad is not None and grad.abs().max() > 0 for grad in kept.values())
    small.zero_grad()
    small(inputs).square().mean().backward()
    for name, parameter in small.named_parameters():
        torch.testing.assert_close(parameter.grad, kept[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("residual", [False, True])
def test_a_16_bit_model_stays_near_its_float32_result(model, residual):
    """The limit is that of the other models, see parity.md; of one voice, as which of two is nearer is a jump."""
    small = WanDiT(CONFIG, fp32_residual=residual).eval().requires_grad_(False)
    small.load_state_dict(model.state_dict())
    velocity = small.to(torch.bfloat16)(inputs_of(), Execution(may_overwrite=True))
    expected = EXPECTED["1 first"]
    assert (velocity - expected).norm() <= 1.3e-2 * expected.norm()


def test_a_window_hears_its_part_by_who_is_in_it(model):
    inputs, whole = inputs_of(2), scene(2)
    prompt = Conditioning(inputs.text, (whole,))
    assert prompt.steering() == {TalkBranch: 1}
    part = prompt.window(Cut(1, 4, 4)).inputs(inputs.latent[:, :, 1:], inputs.timestep)
    (seen,) = part.steering
    assert torch.equal(seen.features, whole.features[:, :, 1:]) and torch.equal(seen.masks, whole.masks)
    assert not seen.begins and whole.begins
    model(replace(part, image_channels=inputs.image_channels[:, :, 1:]))
    tile = prompt.window(Cut(0, 4, 4, rows=Span(0, 8, 8), columns=Span(0, 6, 10)))
    tiled = tile.inputs(inputs.latent[..., :6], inputs.timestep)
    assert torch.equal(tiled.steering[0].masks, whole.masks[..., :6]) and tiled.steering[0].begins
    model(replace(tiled, image_channels=inputs.image_channels[..., :6]))
    on_meta = prompt.to(torch.device("meta")).items[0]
    assert on_meta.features.is_meta and on_meta.masks.is_meta


def test_two_sounds_that_begin_together_are_as_long_as_the_longer():
    one, other = (video_features(SMALL["random_layers"](sound)) for sound in range(2))
    together, in_turn = voices(2, TOGETHER[1]), voices(2)
    assert together.shape[:2] == (2, len(one)) and in_turn.shape[:2] == (2, len(one) + len(other))
    assert torch.equal(together[1, : len(other)], other) and not together[1, len(other) :].any()
    assert torch.equal(in_turn[1, len(one) :], other) and not in_turn[1, : len(one)].any()


def test_devices_cannot_share_its_tokens(model):
    with pytest.raises(InvalidInputError, match="of one that hears in each block, cannot be shared among devices"):
        model.embed(inputs_of(2)).part(slice(0, 20))


def talk(*shape: int, masks: tuple[int, ...] | None = None) -> TalkInput:
    return TalkInput(torch.zeros(shape), None if masks is None else torch.zeros(masks, dtype=torch.bool))


@pytest.mark.parametrize(
    ("steering", "words"),
    [
        ([talk(1, 1, 4, 8, 24, 384)], r"has \[8, 24, 384\] numbers for a latent frame, .* \[8, 12, 768\]. Encode it"),
        ([talk(1, 1, 3, 8, 12, 768)], "prepared for 3 latent frames, but the video has 4"),
        ([talk(2, 1, 4, 8, 12, 768)], "for 2 videos, but the latent has 1"),
        ([talk(1, 1, 4, 8, 12, 768)] * 2, "There are 2 scenes of InfiniteTalk in one prompt"),
        ([talk(1, 2, 4, 8, 12, 768)], "2 people who speak and 0 masks"),
        ([talk(1, 1, 4, 8, 12, 768, masks=(1, 8, 10))], "1 people who speak and 1 masks"),
        ([talk(1, 3, 4, 8, 12, 768, masks=(3, 8, 10))], "3 people who speak and 3 masks"),
        ([talk(1, 2, 4, 8, 12, 768, masks=(2, 8, 8))], "for a latent of 8 x 8, but the latent to sample has 10 x 8"),
    ],
)
def test_what_does_not_fit_is_refused(model, steering, words):
    with pytest.raises(PairingError, match=words):
        model(replace(inputs_of(), steering=tuple(steering)))


def test_other_models_refuse_it():
    with pytest.raises(PairingError, match="This model has no layers of InfiniteTalk and cannot hear who speaks"):
        WanDiT(PLAIN)(inputs_of())
