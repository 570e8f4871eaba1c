"""Wan S2V: speech, a picture of who speaks, poses and frames before, against diffsynth's and ComfyUI's outputs."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wan_director.common.errors import FileFault, InvalidInputError, PairingError
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, adapted
from wan_director.dit.branches.audio.past import PastBranch, PastInput
from wan_director.dit.branches.audio.pose import SpeechPoseBranch, SpeechPoseInput
from wan_director.dit.branches.audio.speech import SpeechBranch, SpeechInput
from wan_director.dit.branches.audio.still import StillBranch, StillInput
from wan_director.dit.conditioning.audio.speech import (
    PastFrames,
    Poses,
    SpeakersPicture,
    SpokenSound,
    speech_features,
)
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import TextTravel
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.slabs import Slabs

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = runpy.run_path(str(FIXTURES / "s2v_models.py"))
EXPECTED = load_file(FIXTURES / "s2v_diffsynth.safetensors") | load_file(FIXTURES / "s2v_comfyui.safetensors")
BRANCHES = (
    SpeechPoseBranch(),
    SpeechBranch(len(SMALL["INJECTED"]), SMALL["WIDTH"], SMALL["LAYERS"]),
    StillBranch(),
    PastBranch(),
)
CONFIG = DiTConfig(**SMALL["SIZES"], branches=BRANCHES)
WHOLE = "next chunk"
"""The case in which everything is given."""


def build(config: DiTConfig = CONFIG) -> WanDiT:
    model = WanDiT(config)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(SMALL["random_like"](shapes))
    return model.eval().requires_grad_(False)


def inputs_of(name: str) -> DitInputs:
    case = SMALL["CASES"][name]
    asked, frames = SMALL["random_inputs"](case), case.shape[0]
    sound = SpeechInput(asked.sound, 0, frames)
    if case.lead:
        lead = asked.sound[..., :1].expand(-1, -1, -1, SMALL["LEAD"])
        sound = SpeechInput(torch.cat([lead, asked.sound], dim=-1), 19, 19 + frames)
    steering = [SpeechPoseInput(asked.poses), sound, StillInput(asked.reference, frames)]
    if asked.past is not None:
        steering.append(PastInput(asked.past))
    return DitInputs(asked.latent, asked.timestep, asked.text, steering=tuple(steering))


def without(inputs: DitInputs, *kinds: type) -> DitInputs:
    return replace(inputs, steering=tuple(each for each in inputs.steering if each.branch not in kinds))


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - expected).norm() <= 5e-6 * expected.norm()


@pytest.mark.parametrize(
    "execution",
    [
        Execution(),
        Execution(may_overwrite=True),
        Execution(may_overwrite=True, lean=Lean(2, run=50)),
        Execution(may_overwrite=True, lean=Lean(4, keys_in_groups=True, run=37)),
    ],
    ids=["kept", "overwritten", "lean", "leanest"],
)
@pytest.mark.parametrize("name", SMALL["CASES"])
def test_velocity_equals_diffsynth_and_comfyui(name, execution):
    """Of ComfyUI's, which hears no lead; its frames before stand at other times than the official ones."""
    model = build()
    weights = sum(value.double().sum() for value in model.state_dict().values())
    torch.testing.assert_close(weights.reshape(1), EXPECTED["weights"])  # else the fixture is of other weights
    assert_same(model(inputs_of(name), execution), EXPECTED[name])


@pytest.mark.parametrize("kind", [SpeechPoseBranch, SpeechBranch, PastBranch])
def test_a_branch_that_nothing_steers_is_as_if_it_were_not_there(kind):
    model, plain, inputs = build(), WanDiT(CONFIG.without(kind)).eval(), inputs_of(WHOLE)
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key in plain.state_dict()})
    with torch.no_grad():
        alone = plain(without(inputs, kind))
    assert torch.equal(model(without(inputs, kind)), alone)
    assert (model(inputs) - alone).norm() > 1e-2 * alone.norm()


def test_a_picture_that_is_not_given_leaves_a_plain_pass():
    model, inputs = build(), without(inputs_of(WHOLE), *(type(branch) for branch in BRANCHES))
    plain = WanDiT(replace(CONFIG, branches=())).eval()
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key in plain.state_dict()})
    with torch.no_grad():
        assert torch.equal(model(inputs), plain(inputs))


def test_no_poses_are_poses_of_zeros():
    model, inputs = build(), inputs_of("first chunk")
    zeros = replace(inputs, steering=(SpeechPoseInput(torch.zeros_like(inputs.latent)), *inputs.steering[1:]))
    assert_same(model(zeros), model(inputs))


def test_a_silent_sound_is_not_none():
    model, inputs = build(), inputs_of("comfyui")
    sound = inputs.steering[1]
    silent = replace(
        inputs, steering=(inputs.steering[0], sound._replace(features=0 * sound.features), inputs.steering[2])
    )
    velocities = [model(each) for each in (inputs, silent, without(inputs, SpeechBranch))]
    assert all((a - b).norm() > 1e-3 * a.norm() for a, b in zip(velocities, velocities[1:]))


@pytest.mark.parametrize("lean", [None, Lean(2, run=40)])
def test_videos_of_a_batch_share_what_is_given(lean):
    model, inputs = build(), inputs_of(WHOLE)
    both = replace(
        inputs, latent=torch.cat([inputs.latent, 0.5 * inputs.latent]), timestep=inputs.timestep.repeat(2),
        text=inputs.text.repeat(2, 1, 1),
    )  # fmt: skip
    execution = Execution(may_overwrite=True, lean=lean)
    together = model(both, execution)
    for index, latent in enumerate((inputs.latent, 0.5 * inputs.latent)):
        alone = model(replace(inputs, latent=latent), execution)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=3e-6 * alone.abs().max().item())


@pytest.mark.parametrize("lean", [None, Lean(2, run=40)])
def test_equal_timesteps_for_each_frame_are_one_timestep(lean):
    model, inputs = build(), inputs_of(WHOLE)
    execution = Execution(may_overwrite=True, lean=lean)
    assert_same(model(replace(inputs, timestep=inputs.timestep.expand(1, 3)), execution), model(inputs, execution))
    other = model(replace(inputs, timestep=torch.tensor([[613.25, 0.0, 613.25]])), execution)
    assert (other - model(inputs, execution)).norm() > 1e-3 * other.norm()


def test_passes_together_give_the_same_bits():
    model, inputs = build(), inputs_of(WHOLE)
    passes = [inputs, without(inputs, SpeechBranch), without(inputs, PastBranch, StillBranch), inputs]
    together = model.forward_together(passes)
    assert all(torch.equal(one, model(each)) for one, each in zip(together, passes))


@pytest.mark.parametrize("may_overwrite", [False, True])
def test_what_steers_is_never_written_into(may_overwrite):
    model, inputs = build(), inputs_of(WHOLE)
    copies = [each[0].clone() for each in inputs.steering]
    model(inputs, Execution(may_overwrite=may_overwrite))
    assert all(torch.equal(each[0], copy) for each, copy in zip(inputs.steering, copies))


def test_swapped_blocks_change_nothing():
    model, inputs = build(), inputs_of(WHOLE)
    expected = model(inputs, Execution(may_overwrite=True))
    names = [place.name for place in CONFIG.block_order()]
    assert names[:4] == [
        "blocks.0", "audio_injector.injector_adain_layers.0", "audio_injector.injector.0", "blocks.1",
    ]  # fmt: skip
    swap = BlockSwap(len(names) - 2, 0)
    with swap.streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        for lean in (None, Lean(2, run=40)):
            found = model(inputs, Execution(may_overwrite=True, stream=stream, lean=lean))
            assert_same(found, expected)
            assert lean is not None or torch.equal(found, expected)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("merge", [False, True])
def test_changes_of_its_layers_equal_changed_weights(swapped, merge):
    """A LoRA may change the layers of all branches as well as the blocks, also where those are swapped."""
    model, inputs = build(), inputs_of(WHOLE)
    generator = torch.Generator().manual_seed(4)
    names = [
        "audio_injector.injector.1.q.weight", "audio_injector.injector.0.v.bias", "blocks.4.ffn.0.weight",
        "audio_injector.injector_adain_layers.1.linear.weight", "casual_audio_encoder.encoder.final_linear.weight",
        "cond_encoder.weight", "frame_packer.proj_2x.weight", "audio_injector.injector.1.norm_q.weight",
        "casual_audio_encoder.encoder.conv2.conv.weight", "trainable_cond_mask.weight", "time_embedding.0.weight",
    ]  # fmt: skip
    added = {name: 0.02 * torch.randn(model.get_parameter(name).shape, generator=generator) for name in names}
    inputs = replace(inputs, steering=(SpeechPoseInput(torch.randn_like(inputs.latent)), *inputs.steering[1:]))
    changes = {name: (Change(Full(value)),) for name, value in added.items()}
    memory = BlockSwap(4, 0) if swapped else RESIDENT
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


def test_gradients_reach_all_branches():
    model = build().requires_grad_(True)
    inputs = inputs_of(WHOLE)
    model(inputs, Execution(checkpoints=True)).square().mean().backward()
    kept = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(grad is not None and grad.abs().max() > 0 for grad in kept.values())
    model.zero_grad()
    model(inputs).square().mean().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, kept[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("residual", [False, True])
def test_a_16_bit_model_stays_near_its_float32_result(residual):
    """The limit is that of the other models, see parity.md."""
    model = WanDiT(CONFIG, fp32_residual=residual).eval().requires_grad_(False)
    model.load_state_dict(build().state_dict())
    velocity = model.to(torch.bfloat16)(inputs_of(WHOLE), Execution(may_overwrite=True))
    assert (velocity - EXPECTED[WHOLE]).norm() <= 1.3e-2 * EXPECTED[WHOLE].norm()


def items_of(name: str) -> tuple:
    inputs = inputs_of(name)
    poses, sound, picture, *past = inputs.steering
    return (
        Poses(poses.latent), SpokenSound(*sound), SpeakersPicture(picture.latent),
        *(PastFrames(each.latent) for each in past),
    )  # fmt: skip


def test_items_steer_as_their_inputs_do():
    inputs = inputs_of(WHOLE)
    prompt = Conditioning(inputs.text, items_of(WHOLE))
    assert prompt.steering() == {type(branch): 1 for branch in BRANCHES}
    model = build()
    assert torch.equal(model(prompt.inputs(inputs.latent, inputs.timestep)), model(inputs))
    on_meta = prompt.to(torch.device("meta"))
    assert all(item.latent.is_meta for item in on_meta.items if not isinstance(item, SpokenSound))
    assert on_meta.items[1].features.is_meta


def test_a_window_hears_its_part_with_what_was_said_before():
    inputs = inputs_of("next chunk")
    prompt = Conditioning(inputs.text, items_of("next chunk"))
    seen = prompt.window(Cut(1, 3, 3)).inputs(inputs.latent[:, :, 1:], inputs.timestep).steering
    # Nothing is said of what came before.
    assert [type(each) for each in seen] == [SpeechPoseInput, SpeechInput, StillInput]
    sound = inputs.steering[1]
    assert (seen[1].start, seen[1].stop) == (20, 22) and torch.equal(seen[1].features, sound.features)
    assert torch.equal(seen[0].latent, inputs.steering[0].latent[:, :, 1:]) and seen[2].frames == 2
    first = prompt.window(Cut(0, 2, 3)).inputs(inputs.latent[:, :, :2], inputs.timestep).steering
    assert torch.equal(first[3].latent, inputs.steering[3].latent)
    rectangle = prompt.window(Cut(0, 3, 3, rows=Span(2, 10, 10), columns=Span(0, 8, 18)))
    tile = rectangle.inputs(inputs.latent[..., 2:, :8], inputs.timestep).steering
    assert all(each.latent.shape[-2:] == (8, 8) for each in tile if not isinstance(each, SpeechInput))
    build()(rectangle.inputs(inputs.latent[..., 2:, :8], inputs.timestep))


def sound(*shape: int, start: int = 0, stop: int = 3) -> SpeechInput:
    return SpeechInput(torch.zeros(shape), start, stop)


@pytest.mark.parametrize(
    ("steering", "words"),
    [
        ([sound(1, 25, 16, 12)], "25 layers of features of width 16, and .* 25 of 32. Encode it with wav2vec2"),
        ([sound(1, 13, 32, 12)], "13 layers of features of width 32"),
        ([sound(1, 25, 32, 8)], "for 2 latent frames, of which it is to give 0 to 3, but the video has 3"),
        ([sound(1, 25, 32, 16, stop=4)], "0 to 4, but the video has 3"),
        ([sound(3, 25, 32, 12)], "There are 3 sounds, but the latent has 1 videos"),
        ([sound(1, 25, 32, 12)] * 2, "There are 2 sounds, and the model hears one"),
        ([StillInput(torch.zeros(1, 16, 1, 6, 8), 3)], "reference picture was prepared for .*8 x 6.*18 x 10"),
        ([StillInput(torch.zeros(1, 16, 1, 10, 18), 3)] * 2, "2 reference pictures, and the model takes one"),
        ([SpeechPoseInput(torch.zeros(1, 16, 2, 10, 18))], "pose video was prepared for a latent of .*2 latent frames"),
        ([SpeechPoseInput(None)] * 2, "2 pose videos, and the model follows one"),
        ([PastInput(torch.zeros(1, 16, 19, 6, 8))], "frames before were prepared for .*8 x 6.*18 x 10"),
        ([PastInput(torch.zeros(1, 16, 19, 10, 18))] * 2, "2 clips to go on from, and the model takes one"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(steering, words):
    with pytest.raises(PairingError, match=words):
        build()(replace(inputs_of("first chunk"), steering=tuple(steering)))


def test_a_video_too_small_to_pack_is_refused():
    latent, past = torch.zeros(1, 16, 1, 6, 10), PastInput(torch.zeros(1, 16, 19, 6, 10))
    inputs = replace(inputs_of("first chunk"), latent=latent, steering=(past,))
    with pytest.raises(PairingError, match="packed from 8 x 8 on. Make a video of at least 64 pixels a side"):
        build()(inputs)


@pytest.mark.parametrize("kind", range(4))
def test_other_models_refuse_it(kind):
    inputs = inputs_of(WHOLE)
    with pytest.raises(PairingError, match="S2V"):
        build(replace(CONFIG, branches=()))(replace(inputs, steering=inputs.steering[kind : kind + 1]))


def test_prompts_that_take_turns_in_one_pass_are_refused():
    inputs = inputs_of(WHOLE)
    travel = TextTravel((inputs.text, inputs.text), torch.full((2, 3), 0.5))
    with pytest.raises(InvalidInputError, match="no place in time among prompts that take turns in one pass"):
        build()(replace(inputs, travel=travel))


@pytest.mark.parametrize("count", [3, 13])
def test_speech_for_blocks_that_are_not_there_is_refused(count):
    with pytest.raises(FileFault, match=f"puts speech in after {count} of 8 blocks"):
        SpeechBranch(count).check_layers(8)


def test_features_are_taken_at_the_rate_of_the_video():
    """Steps that count up tell which moments are heard: frame f at 50 * f / 16 steps, to the nearest of 30 a second."""
    steps = torch.arange(200.0).view(1, -1, 1)
    features = speech_features([steps, -steps], 20)
    assert features.shape == (1, 2, 1, 80) and torch.equal(features[:, 0], -features[:, 1])
    heard = features[0, 0, 0, :64]  # four seconds
    assert (heard - torch.arange(64) * 50 / 16).abs().max() < 50 / 30
    assert not features[..., 64:].any()  # the sound has ended
    later = speech_features([steps, -steps], 10, first=6)
    assert torch.equal(later[..., :40], features[..., 24:64])
    assert not speech_features([steps, -steps], 4, first=100).any()
