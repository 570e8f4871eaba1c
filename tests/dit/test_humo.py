"""HuMo: what is heard inside every block and who is seen, against ComfyUI's outputs."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, adapted
from wan_director.dit.branches.audio.humo import HumoBranch, HumoInput
from wan_director.dit.conditioning.audio.humo import HumoScene, moment_features, nothing_given
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import TextTravel
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.slabs import Slabs

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = runpy.run_path(str(FIXTURES / "humo_models.py"))
EXPECTED = load_file(FIXTURES / "humo_outputs.safetensors")
CONFIGS = {
    name: DiTConfig(**SMALL["SIZES"], in_channels=channels, branches=(HumoBranch(has_mask=channels > 16),))
    for name, channels in SMALL["MODELS"].items()
}
LARGE = "17B"
WAYS = {
    "kept": Execution(),
    "overwritten": Execution(may_overwrite=True),
    "lean": Execution(may_overwrite=True, lean=Lean(2, run=100)),
    "leanest": Execution(may_overwrite=True, lean=Lean(4, keys_in_groups=True, run=37)),
}


@pytest.fixture(scope="module")
def models():
    """Both. Nothing writes into them."""
    return {name: build(name) for name in CONFIGS}


def build(name: str) -> WanDiT:
    """With the weights that ComfyUI's had."""
    model = WanDiT(CONFIGS[name])
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(SMALL["random_like"](shapes))
    return model.eval().requires_grad_(False)


def scene(name: str = LARGE, given: bool = True) -> HumoScene:
    """What the inputs are given; without, what ComfyUI's node then gives."""
    asked = SMALL["random_inputs"]()
    sound, picture = (asked.sound, asked.picture) if given else (0 * asked.sound, 0 * asked.picture)
    return HumoScene(sound, WAN_2_1.normalize(picture), CONFIGS[name].in_channels > 16)


def inputs_of(name: str = LARGE, given: bool = True) -> DitInputs:
    asked = SMALL["random_inputs"]()
    return Conditioning(asked.text, (scene(name, given),)).inputs(asked.latent, asked.timestep)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - expected).norm() <= 5e-6 * expected.norm()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [True, False], ids=["given", "silent"])
@pytest.mark.parametrize("name", CONFIGS)
def test_velocity_equals_comfyui(models, name, given, way):
    """With what stands beside the latent where no frame is given, and the sound and picture inside."""
    model = models[name]
    weights = sum(value.double().sum() for value in model.state_dict().values())
    torch.testing.assert_close(weights.reshape(1), EXPECTED[f"{name} weights"])  # else the fixture is of other weights
    expected = EXPECTED[f"{name} {'given' if given else 'silent'}"]
    assert_same(model(inputs_of(name, given), WAYS[way]), expected)


@pytest.mark.parametrize("length", [9, 41])
def test_a_sound_is_heard_as_in_comfyui(length):
    """Also where it ends before the video does."""
    features = moment_features(SMALL["random_layers"](), SMALL["SAMPLES"], (length - 1) // 4 + 1)
    expected = EXPECTED[f"sound of {length} frames"]
    assert features.shape == expected.shape and (features - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert length == 9 or not features[:, -2:].any()


def test_a_branch_that_nothing_steers_is_as_if_it_were_not_there(models):
    model, inputs = models[LARGE], inputs_of()
    plain = WanDiT(replace(CONFIGS[LARGE], branches=())).eval()
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key in plain.state_dict()})
    unsteered = replace(inputs, steering=())
    with torch.no_grad():
        alone = plain(unsteered)
    assert torch.equal(model(unsteered), alone)
    assert (model(inputs) - alone).norm() > 1e-2 * alone.norm()


def test_sound_and_picture_each_count(models):
    model, inputs = models[LARGE], inputs_of()
    (given,) = inputs.steering
    silent = replace(inputs, steering=(given._replace(features=0 * given.features),))
    unseen = replace(inputs, steering=(given._replace(picture=None),))
    velocities = [model(each) for each in (inputs, silent, unseen)]
    assert all((a - b).norm() > 1e-3 * a.norm() for a, b in zip(velocities, velocities[1:]))


def test_a_sound_is_heard_in_its_own_frame(models):
    """Of one block, whose self-attention gives nothing."""
    model, inputs = WanDiT(replace(CONFIGS[LARGE], layers=1)).eval().requires_grad_(False), inputs_of()
    state = {key: value for key, value in models[LARGE].state_dict().items() if key in model.state_dict()}
    state |= {f"blocks.0.self_attn.o.{leaf}": 0 * state[f"blocks.0.self_attn.o.{leaf}"] for leaf in ("weight", "bias")}
    model.load_state_dict(state)
    (given,) = inputs.steering
    features = given.features.clone()
    features[:, 1] = 0
    changed = (model(inputs) - model(replace(inputs, steering=(given._replace(features=features),)))).abs()
    assert changed[:, :, 1].max() > 1e-3 and not changed[:, :, [0, 2]].any()


@pytest.mark.parametrize("lean", [None, Lean(2, run=40)])
def test_videos_of_a_batch_share_what_is_given(models, lean):
    model, inputs = models[LARGE], inputs_of()
    both = replace(
        inputs, latent=torch.cat([inputs.latent, 0.5 * inputs.latent]), timestep=inputs.timestep.repeat(2),
        text=inputs.text.repeat(2, 1, 1), image_channels=inputs.image_channels.repeat(2, 1, 1, 1, 1),
    )  # fmt: skip
    execution = Execution(may_overwrite=True, lean=lean)
    together = model(both, execution)
    for index, latent in enumerate((inputs.latent, 0.5 * inputs.latent)):
        alone = model(replace(inputs, latent=latent), execution)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=3e-6 * alone.abs().max().item())


@pytest.mark.parametrize("lean", [None, Lean(2, run=40)])
def test_equal_timesteps_for_each_frame_are_one_timestep(models, lean):
    model, inputs = models[LARGE], inputs_of()
    execution = Execution(may_overwrite=True, lean=lean)
    assert_same(model(replace(inputs, timestep=inputs.timestep.expand(1, 3)), execution), model(inputs, execution))
    other = model(replace(inputs, timestep=torch.tensor([[613.25, 0.0, 613.25]])), execution)
    assert (other - model(inputs, execution)).norm() > 1e-3 * other.norm()


def test_passes_together_give_the_same_bits(models):
    model, inputs = models[LARGE], inputs_of()
    passes = [inputs, inputs_of(given=False), inputs]
    together = model.forward_together(passes)
    assert all(torch.equal(one, model(each)) for one, each in zip(together, passes))


@pytest.mark.parametrize("way", ["kept", "overwritten", "lean"])
def test_what_steers_is_never_written_into(models, way):
    inputs = inputs_of()
    (given,) = inputs.steering
    copies = [each.clone() for each in given]
    models[LARGE](inputs, WAYS[way])
    assert all(torch.equal(each, copy) for each, copy in zip(given, copies))


def test_swapped_blocks_change_nothing(models):
    model, inputs = models[LARGE], inputs_of()
    expected = model(inputs, WAYS["overwritten"])
    with BlockSwap(2, 0).streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        for lean in (None, Lean(2, run=40)):
            found = model(inputs, Execution(may_overwrite=True, stream=stream, lean=lean))
            assert_same(found, expected)
            assert lean is not None or torch.equal(found, expected)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("merge", [False, True])
def test_changes_of_its_layers_equal_changed_weights(models, swapped, merge):
    """A LoRA may change the layers of its sound as well as the others, also in blocks that are swapped."""
    model, inputs = WanDiT(CONFIGS[LARGE]).eval().requires_grad_(False), inputs_of()
    model.load_state_dict(models[LARGE].state_dict())
    generator = torch.Generator().manual_seed(4)
    inside = "blocks.1.audio_cross_attn_wrapper."
    names = [
        f"{inside}audio_cross_attn.q.weight", f"{inside}audio_cross_attn.v.bias", f"{inside}norm1_audio.weight",
        f"{inside}audio_cross_attn.norm_k.weight", "audio_proj.audio_proj_glob_2.layer.weight",
        "audio_proj.audio_proj_glob_norm.layer.bias", "blocks.2.ffn.0.weight",
    ]  # fmt: skip
    added = {name: 0.02 * torch.randn(model.get_parameter(name).shape, generator=generator) for name in names}
    changes = {name: (Change(Full(value)),) for name, value in added.items()}
    memory = BlockSwap(2, 0) if swapped else RESIDENT
    with (
        adapted(model, [AppliedAdapter(Adapter("test", changes), 0.5, merge=merge)]),
        memory.streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream,
    ):
        velocity = model(inputs, Execution(stream=stream))
    plain = model(inputs)
    for name, value in added.items():
        model.get_parameter(name).data.add_(value, alpha=0.5)
    expected = model(inputs)
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (plain - expected).abs().max() > 1e-3 * expected.abs().max()


def test_gradients_reach_all_of_it():
    model = WanDiT(replace(CONFIGS[LARGE], layers=1, branches=(HumoBranch(8, token_width=96),)))
    inputs = inputs_of()
    inputs = replace(inputs, steering=(inputs.steering[0]._replace(features=torch.randn(1, 3, 8, 5, 8)),))
    model(inputs, Execution(checkpoints=True)).square().mean().backward()
    kept = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(grad is not None and grad.abs().max() > 0 for grad in kept.values())
    model.zero_grad()
    model(inputs).square().mean().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, kept[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("residual", [False, True])
def test_a_16_bit_model_stays_near_its_float32_result(models, residual):
    """The limit is that of the other models, see parity.md."""
    model = WanDiT(CONFIGS[LARGE], fp32_residual=residual).eval().requires_grad_(False)
    model.load_state_dict(models[LARGE].state_dict())
    velocity = model.to(torch.bfloat16)(inputs_of(), Execution(may_overwrite=True))
    expected = EXPECTED[f"{LARGE} given"]
    assert (velocity - expected).norm() <= 1.3e-2 * expected.norm()


def test_a_window_hears_its_part_and_keeps_the_picture(models):
    inputs, whole = inputs_of(), scene()
    prompt = Conditioning(inputs.text, (whole,))
    assert prompt.steering() == {HumoBranch: 1}
    part = prompt.window(Cut(1, 3, 3)).inputs(inputs.latent[:, :, 1:], inputs.timestep)
    (seen,) = part.steering
    assert torch.equal(seen.features, whole.features[:, 1:]) and torch.equal(seen.picture, whole.picture)
    assert torch.equal(part.image_channels, nothing_given(inputs.latent)[:, :, 1:])
    tile = prompt.window(Cut(0, 3, 3, rows=Span(2, 10, 10), columns=Span(0, 8, 18)))
    tiled = tile.inputs(inputs.latent[..., 2:, :8], inputs.timestep)
    assert tiled.steering[0].picture.shape[-2:] == (8, 8)
    models[LARGE](tiled)
    on_meta = prompt.to(torch.device("meta")).items[0]
    assert on_meta.features.is_meta and on_meta.picture.is_meta


def humo(*shape: int, picture: tuple[int, ...] | None = None) -> HumoInput:
    return HumoInput(torch.zeros(shape), None if picture is None else torch.zeros(picture))


@pytest.mark.parametrize(
    ("steering", "words"),
    [
        ([humo(1, 3, 8, 5, 384)], r"has \[8, 5, 384\] numbers for a latent frame, .* hears \[8, 5, 1280\]. Encode it"),
        ([humo(1, 2, 8, 5, 1280)], "prepared for 2 latent frames, but the video has 3"),
        ([humo(2, 3, 8, 5, 1280)], "for 2 videos, but the latent has 1"),
        ([humo(1, 3, 8, 5, 1280)] * 2, "There are 2 sounds, and HuMo hears one"),
        ([humo(1, 3, 8, 5, 1280, picture=(1, 16, 1, 6, 8))], "reference picture was prepared for .*8 x 6.*18 x 10"),
    ],
)
def test_what_does_not_fit_is_refused(models, steering, words):
    with pytest.raises(PairingError, match=words):
        models[LARGE](replace(inputs_of(), steering=tuple(steering)))


def test_other_models_refuse_it(models):
    with pytest.raises(PairingError, match="This model is no HuMo model and takes neither"):
        WanDiT(replace(CONFIGS[LARGE], branches=()))(inputs_of())


def test_prompts_that_take_turns_in_one_pass_are_refused(models):
    inputs = inputs_of()
    travel = TextTravel((inputs.text, inputs.text), torch.full((2, 3), 0.5))
    with pytest.raises(InvalidInputError, match="no place in time among prompts that take turns in one pass"):
        models[LARGE](replace(inputs, travel=travel))
