"""Wan-Animate-2: frames that see poses, against three implementations' recorded outputs; what is kept of poses."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, adapted
from wan_director.dit.attention import resolve_pattern
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.branches.pose import PoseBranch, PoseInput
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.conditioning.pose import PoseVideo
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import Avoided, TextTravel
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.pose_memory import KeptPoses
from wan_director.memory.policy import BlockSwap
from wan_director.memory.slabs import Slabs
from wan_director.weights import layers

from .trainable_models import packed_in

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = runpy.run_path(str(FIXTURES / "animate2_models.py"))
EXPECTED = load_file(FIXTURES / "animate2_outputs.safetensors")
SIZES, CASES, KNOWS, SHAPE, ASKED = (
    MODELS[name] for name in ("SIZES", "CASES", "KNOWS", "SHAPE", "random_inputs")
)  # fmt: skip
CONFIG = DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(1280), PoseBranch()))
LAYERS, FRAMES = CONFIG.layers, SHAPE[0] + 1
OF_STREAM = SHAPE[0] * SHAPE[1] * SHAPE[2] // 4 * CONFIG.dim * 4
"""Bytes of the poses' tokens."""
OVERWRITES = Execution(may_overwrite=True)


@pytest.fixture(scope="module")
def model() -> WanDiT:
    return build(CONFIG)


def build(config: DiTConfig) -> WanDiT:
    built = WanDiT(config)
    built.load_state_dict(
        MODELS["random_like"]({name: tuple(value.shape) for name, value in built.state_dict().items()})
    )
    return built.eval().requires_grad_(False)


def inputs_of(case=CASES["plain"]) -> DitInputs:
    asked = ASKED()
    pose = PoseInput(
        FRAMES,
        asked.pose if case.has_pose else None,
        asked.pose_text,
        asked.pose_clip,
        case.pose_strength,
        case.reference_strength,
        case.first_frame_bias,
    )
    skipped = frozenset({9}) if case.is_negative else frozenset()
    steering = (ClipInput(asked.clip), pose)
    return DitInputs(asked.latent, asked.timestep, asked.text, asked.channels, steering, skipped)


def posed(inputs: DitInputs, **changes: object) -> DitInputs:
    clip, pose = inputs.steering
    return replace(inputs, steering=(clip, pose._replace(**changes)))


def keeping(most_bytes: int = 10**9, **changes: object) -> Execution:
    return replace(OVERWRITES, pose_memory=KeptPoses(None, most_bytes, **changes))


def near(one: Tensor, other: Tensor, limit: float = 1e-5) -> bool:
    return bool((one - other).abs().max() <= limit * other.abs().max())


@pytest.mark.parametrize(("reference", "case"), [(name, case) for name, cases in KNOWS.items() for case in cases])
def test_velocity_equals_the_reference(model, reference, case):
    velocity, expected = model(inputs_of(CASES[case])), EXPECTED[f"{reference} {case}"]
    assert near(velocity, expected)
    assert (velocity - expected).norm() <= 5e-6 * expected.norm()


def test_each_input_counts(model):
    plain = model(inputs_of())
    for case in ("strengths", "without poses", "distilled", "negative"):
        assert (model(inputs_of(CASES[case])) - plain).norm() > 2e-3 * plain.norm()
    for name in ("latent", "text", "features"):
        changed = posed(inputs_of(), **{name: -getattr(inputs_of().steering[1], name)})
        assert (model(changed) - plain).norm() > 3e-4 * plain.norm(), name


def test_a_model_that_nothing_steers_is_an_image_to_video_model(model):
    plain = build(CONFIG.without(PoseBranch))
    inputs = inputs_of()
    alone = replace(inputs, steering=inputs.steering[:1])
    assert torch.equal(model(alone), plain(alone))
    assert set(model.state_dict()) == set(plain.state_dict())


@pytest.mark.parametrize("case", ["strengths", "without poses", "distilled", "negative"])
@pytest.mark.parametrize("lean", [None, Lean(2, run=20), Lean(2, keys_in_groups=True, run=20)])
def test_lean_blocks_and_overwriting_give_the_same(model, lean, case):
    inputs = inputs_of(CASES[case])
    assert near(model(inputs, replace(OVERWRITES, lean=lean)), model(inputs), 2e-6)


@pytest.mark.parametrize("case", ["plain", "strengths", "negative"])
def test_what_is_kept_of_poses_changes_no_bit(model, case):
    inputs = inputs_of(CASES[case])
    expected, execution = model(inputs, OVERWRITES), keeping()
    for _ in range(3):
        assert torch.equal(model(inputs, execution), expected)
    assert execution.pose_memory.size_bytes == (LAYERS - 1) * OF_STREAM
    execution.pose_memory.forget()
    assert execution.pose_memory.size_bytes == 0


@pytest.mark.parametrize("blocks", [0, 1, 4])
def test_where_there_is_room_for_some_blocks_the_last_ones_are_kept(model, blocks):
    execution = keeping(blocks * OF_STREAM + 8)
    counted = Counting()
    inputs, expected = inputs_of(), model(inputs_of(), OVERWRITES)
    for _ in range(2):
        assert torch.equal(model(inputs, replace(execution, attention=counted)), expected)
    assert execution.pose_memory.size_bytes == blocks * OF_STREAM
    plain, again = LAYERS - 1, LAYERS - 1 - blocks
    assert counted.of_poses == plain + (again if blocks else plain)


class Counting:
    """Attention that counts how often poses looked at themselves."""

    def __init__(self) -> None:
        self.of_poses = 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        tokens = SHAPE[0] * SHAPE[1] * SHAPE[2] // 4
        self.of_poses += q.shape[1] == k.shape[1] == tokens
        return OVERWRITES.attention(q, k, v)


def test_both_passes_of_a_step_share_what_is_kept(model):
    execution, counted = keeping(), Counting()
    positive, negative = inputs_of(), inputs_of(CASES["negative"])
    expected = [model(each, OVERWRITES) for each in (positive, negative)]
    together = model.forward_together([positive, negative], replace(execution, attention=counted))
    assert all(torch.equal(one, other) for one, other in zip(together, expected))
    assert counted.of_poses == LAYERS - 1  # once for both
    again = [model(each, replace(execution, attention=counted)) for each in (negative, positive)]
    assert counted.of_poses == LAYERS - 1
    assert all(torch.equal(one, other) for one, other in zip(again, expected[::-1]))


def test_other_poses_are_kept_beside_and_let_go_when_a_step_does_not_ask_for_them(model):
    execution, inputs = keeping(), inputs_of()
    others = posed(inputs, latent=0.5 * inputs.steering[1].latent)
    for each in (inputs, others, inputs):
        assert torch.equal(model(each, execution), model(each, OVERWRITES))
    memory = execution.pose_memory
    assert memory.size_bytes == 2 * (LAYERS - 1) * OF_STREAM
    memory.begin_step()
    model(others, execution)
    assert memory.size_bytes == 2 * (LAYERS - 1) * OF_STREAM
    memory.begin_step()
    assert memory.size_bytes == (LAYERS - 1) * OF_STREAM


def test_poses_in_8_bit_are_near_and_the_same_in_every_pass(model):
    execution, exact = keeping(in_8_bit=True), model(inputs_of(), OVERWRITES)
    first = model(inputs_of(), execution)
    assert torch.equal(model(inputs_of(), execution), first)
    assert 1e-6 < (first - exact).norm() / exact.norm() < 5e-3
    assert execution.pose_memory.size_bytes == (LAYERS - 1) * (OF_STREAM // 4 + OF_STREAM // CONFIG.dim)


def test_blocks_that_are_swapped_give_the_same_bits(model):
    execution, expected = keeping(), model(inputs_of(), OVERWRITES)
    with BlockSwap(3, 0).streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        for _ in range(2):
            assert torch.equal(model(inputs_of(), replace(execution, stream=stream)), expected)


@pytest.mark.parametrize("form", ["fp8", "gguf", "int8"])
@pytest.mark.parametrize("lean", [None, Lean(2, keys_in_groups=True, run=20)])
def test_stored_matrices_give_what_their_numbers_give(form, lean):
    stored = WanDiT(CONFIG, layers)
    stored.load_state_dict(build(CONFIG).state_dict())
    plain = build(CONFIG)
    for name, layer in stored.blocks.named_modules():
        if isinstance(layer, layers.Linear):
            layer.store(packed_in(form)(layer.weight.detach()))
            plain.blocks.get_submodule(name).weight.data.copy_(layer.dense_weight())
    stored.eval().requires_grad_(False)
    assert near(stored(inputs_of(), replace(keeping(), lean=lean)), plain(inputs_of()))


def test_normalized_attention_guidance_leads_the_video_and_not_the_poses(model):
    other = torch.randn(1, 512, CONFIG.text_dim, generator=torch.Generator().manual_seed(6))
    inputs, plain = inputs_of(), model(inputs_of(), OVERWRITES)
    away = replace(inputs, avoided=Avoided(other, 11.0, 0.25, 2.5))
    execution = keeping()
    expected = model(away, OVERWRITES)
    assert torch.equal(model(inputs, execution), plain)
    assert torch.equal(model(away, execution), expected)  # by the poses that the other pass has kept
    assert near(model(away, replace(OVERWRITES, lean=Lean(2, run=20))), expected, 2e-6)
    assert (expected - plain).norm() > 1e-3 * plain.norm()


def test_texts_in_time_and_poses_of_16_bit_tokens(model):
    texts = tuple(torch.randn(1, 512, CONFIG.text_dim, generator=torch.Generator().manual_seed(n)) for n in (7, 8))
    shares = torch.tensor([[1.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.5, 1.0]])
    travelling = replace(inputs_of(), travel=TextTravel(texts, shares))
    assert torch.equal(model(travelling, keeping()), model(travelling, OVERWRITES))
    half = build(CONFIG).to(torch.bfloat16)
    expected = half(travelling, OVERWRITES)
    assert torch.equal(half(travelling, keeping()), expected)
    assert (expected - model(travelling)).norm() < 3e-2 * expected.norm()
    residual = WanDiT(CONFIG, fp32_residual=True).eval().requires_grad_(False)
    residual.load_state_dict(build(CONFIG).state_dict())
    residual = residual.to(torch.bfloat16)
    execution = keeping()
    first = residual(travelling, execution)
    assert torch.equal(residual(travelling, execution), first) and execution.pose_memory.size_bytes


@pytest.mark.parametrize("layer", ["blocks.0.self_attn.k", "blocks.3.self_attn.v", "blocks.1.ffn.0", "img_emb.proj.1"])
def test_a_lora_changes_the_way_of_the_poses_too(layer):
    model, inputs = build(CONFIG), inputs_of()
    name = f"{layer}.weight"
    delta = 0.05 * torch.randn(model.get_parameter(name).shape, generator=torch.Generator().manual_seed(5))
    applied = AppliedAdapter(Adapter("a.safetensors", {name: (Change(Full(delta)),)}))
    plain = model(inputs)
    with adapted(model, [applied]):
        beside = model(inputs, keeping())
    model.get_parameter(name).add_(delta)
    assert near(beside, model(inputs))
    assert not near(beside, plain, 1e-4)


def test_one_pose_video_serves_a_batch(model):
    inputs = inputs_of()
    other = replace(inputs, latent=0.5 * inputs.latent)
    both = replace(
        inputs,
        latent=torch.cat([inputs.latent, other.latent]),
        **{name: torch.cat([getattr(inputs, name)] * 2) for name in ("timestep", "text", "image_channels")},
        steering=(ClipInput(inputs.steering[0].features.expand(2, -1, -1)), inputs.steering[1]),
    )
    for execution in (OVERWRITES, keeping(), replace(OVERWRITES, lean=Lean(2, run=20))):
        velocities = model(both, execution)
        for index, each in enumerate((inputs, other)):
            assert near(velocities[index : index + 1], model(each), 2e-6)


def test_equal_timesteps_for_each_frame_are_one_timestep(model):
    inputs = inputs_of()
    each = replace(inputs, timestep=inputs.timestep.expand(1, FRAMES))
    assert near(model(each, OVERWRITES), model(inputs))


def test_gradients_go_through_poses():
    model, inputs = build(CONFIG), inputs_of()
    for execution in (Execution(), Execution(checkpoints=True)):
        weight = model.get_parameter("blocks.0.self_attn.v.weight").requires_grad_()
        model(inputs, execution).square().mean().backward()
        assert weight.grad is not None and weight.grad.isfinite().all()
        found, weight.grad = weight.grad, None
        step = 1e-2 * found / found.norm()
        with torch.no_grad():
            losses = []
            for sign in (1, -1):
                weight.add_(sign * step)
                losses.append(model(inputs).double().square().mean())
                weight.sub_(sign * step)
        assert (losses[0] - losses[1]) / 2 == pytest.approx(float((found * step).sum()), rel=2e-2)


@pytest.mark.parametrize("may_overwrite", [False, True])
def test_what_steers_is_never_written_into(model, may_overwrite):
    inputs = inputs_of(CASES["strengths"])
    copies = [each.clone() for each in inputs.steering[1].of_stream]
    first = model(inputs, Execution(may_overwrite=may_overwrite))
    assert all(torch.equal(each, copy) for each, copy in zip(inputs.steering[1].of_stream, copies))
    assert near(model(inputs), first)


def test_an_item_fills_the_pass_and_is_cut_with_the_clip():
    asked = ASKED()
    item = PoseVideo(asked.pose, None, asked.pose_clip, 0.5, 0.75, -1.3, frozenset({9}))
    prompt = Conditioning(asked.text, (item,), references=1)
    assert prompt.steering() == {PoseBranch: 1}
    inputs = prompt.inputs(asked.latent, asked.timestep)
    (pose,) = inputs.steering
    assert pose.frames == FRAMES and inputs.skipped == {9}
    assert torch.equal(pose.text, asked.text) and torch.equal(pose.latent, asked.pose)
    assert pose[4:] == (0.5, 0.75, -1.3)
    cut = Cut(2, 4, FRAMES, references=1, rows=Span(2, 6, 6))
    (pose,) = prompt.window(cut).inputs(cut.of(asked.latent), asked.timestep).steering
    assert pose.frames == 3
    assert torch.equal(pose.latent, asked.pose[:, :, 1:3, 2:6])
    whole = Cut(0, FRAMES, FRAMES)
    assert torch.equal(item.window(whole).latent, asked.pose)
    assert item.to(torch.device("meta")).features.is_meta
    assert replace(item, latent=None).window(cut).latent is None
    with pytest.raises(PairingError, match="prepared for 3 latent frames behind a reference picture, .* has 9 in all"):
        item.window(Cut(2, 4, 9, references=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent": torch.zeros(1, 16, 3, 6, 8)}, "pose video was prepared for a latent of .*8 x 6.*has .*10 x 6"),
        ({"latent": torch.zeros(1, 16, 4, 6, 10)}, "Connect the LATENT of the node that prepared the poses"),
        ({"latent": torch.zeros(3, 16, 3, 6, 10)}, "pose video was prepared for"),
    ],
)
def test_poses_of_another_size_are_refused(model, changes, words):
    with pytest.raises(PairingError, match=words):
        model(posed(inputs_of(), **changes))


def test_two_pose_videos_sparse_attention_and_other_models_are_refused(model):
    inputs = inputs_of()
    with pytest.raises(PairingError, match="2 pose videos, and the model follows one"):
        model(replace(inputs, steering=(*inputs.steering, inputs.steering[1])))
    with pytest.raises(InvalidInputError, match="sparse in the video has no place for the poses"):
        model(inputs, Execution(pattern=resolve_pattern("radial")))
    with pytest.raises(PairingError, match="sees no pose video beside the one to make"):
        build(CONFIG.without(PoseBranch))(inputs)
