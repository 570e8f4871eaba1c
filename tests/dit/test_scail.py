"""SCAIL and SCAIL-2 against ComfyUI's recorded outputs: references, poses, masks, both modes, frames that are kept."""

from __future__ import annotations

import runpy
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wan_director.common.errors import FileFault, InvalidInputError, PairingError
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, adapted
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.branches.scail import ScailBranch, ScailReference
from wan_director.dit.conditioning.characters.scail import (
    ANIMATION,
    REPLACEMENT,
    KeptFrames,
    ScailCharacter,
    ScailPose,
    colour_channels,
)
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.conditioning.in_context import context_sizes
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import TextTravel
from wan_director.dit.execution import Execution, lean_ways
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.rope import TokenPlaces, make_rope
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.slabs import Slabs

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = runpy.run_path(str(FIXTURES / "scail_models.py"))
CASES, EXPECTED = MODELS["CASES"], load_file(FIXTURES / "scail_outputs.safetensors")
CONFIGS = {
    version: DiTConfig(**MODELS["SIZES"], in_channels=20, branches=(ClipBranch(1280), ScailBranch(mask_channels=masks)))
    for version, masks in ((1, 0), (2, 28))
}
ALL = "replacement, three references"
"""The case that has everything."""


@pytest.fixture(scope="module")
def models() -> dict[int, WanDiT]:
    return {version: build(version) for version in CONFIGS}


def build(version: int) -> WanDiT:
    model = WanDiT(CONFIGS[version])
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(MODELS["random_like"](shapes))
    return model.eval().requires_grad_(False)


def items_of(name: str) -> tuple[ScailCharacter | KeptFrames, ...]:
    case = CASES[name]
    asked = MODELS["random_inputs"](case)
    masks = asked.reference_masks or [None] * case.references
    places = REPLACEMENT if case.replaces else ANIMATION
    characters = [ScailCharacter(*both, places) for both in zip(asked.references, masks)]
    return (*characters, KeptFrames(asked.kept)) if case.kept else tuple(characters)


def inputs_of(name: str) -> DitInputs:
    asked = MODELS["random_inputs"](CASES[name])
    poses = () if asked.pose is None else (ScailPose(asked.pose, asked.pose_mask),)
    prompt = Conditioning(asked.text, items_of(name), in_context=poses)
    inputs = prompt.inputs(asked.latent, asked.timestep)
    return replace(inputs, steering=(ClipInput(asked.clip), *inputs.steering))


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - expected).norm() <= 5e-6 * expected.norm()


@pytest.mark.parametrize("name", CASES)
def test_velocity_equals_comfyui(name, models):
    version = CASES[name].version
    weights = sum(value.double().sum() for value in models[version].state_dict().values())
    torch.testing.assert_close(weights.reshape(1), EXPECTED[f"weights {version}"])  # else of other weights
    assert_close(models[version](inputs_of(name)), EXPECTED[name])


def test_all_cases_differ():
    """So that nothing of what is given is passed over; the mode alone changes nothing where there is no reference."""
    shape = EXPECTED["animation"].shape
    outputs = {name: EXPECTED[name] for name in CASES if EXPECTED[name].shape == shape}
    same = {frozenset(pair) for pair in combinations(outputs, 2) if torch.equal(*(outputs[name] for name in pair))}
    assert len(outputs) >= 10 and same == {frozenset({"poses alone", "replacement, poses alone"})}


def test_colours_of_masks_are_comfyuis():
    found = colour_channels(MODELS["coloured"](), 6, 7)
    assert found.shape == (1, 28, 3, 6, 7)
    assert torch.equal(found, EXPECTED["colours"])


@pytest.mark.parametrize("version", CONFIGS)
def test_a_branch_that_nothing_steers_is_as_if_it_were_not_there(version, models):
    config, name = CONFIGS[version], "first version" if version == 1 else "animation"
    plain = WanDiT(config.without(ScailBranch)).eval()
    plain.load_state_dict(
        {key: value for key, value in models[version].state_dict().items() if key in plain.state_dict()}
    )
    inputs = inputs_of(name)
    nothing = replace(inputs, steering=inputs.steering[:1], in_context=())
    with torch.no_grad():
        alone = plain(nothing)
    assert torch.equal(models[version](nothing), alone)
    assert (models[version](inputs) - alone).norm() > 1e-2 * alone.norm()


def test_places_of_both_modes(models):
    """Those of a video of 3 frames of 4 x 6 tokens, two references before it, and poses of 3 frames of 2 x 3."""
    asked = MODELS["random_inputs"](CASES["animation"]._replace(references=2))
    pose = ScailPose(asked.pose, asked.pose_mask)
    head_dim = CONFIGS[2].head_dim

    def rope_of(mode, places=TokenPlaces()):  # noqa: B008  (a frozen value)
        items = tuple(ScailCharacter(*both, mode) for both in zip(asked.references, asked.reference_masks))
        prompt = Conditioning(asked.text, items, in_context=(pose,))
        return models[2].embed(replace(prompt.inputs(asked.latent, asked.timestep), places=places)).context.rope

    def at(grid, frame, row, column, step=1.0):
        return make_rope(head_dim, grid, places=TokenPlaces((1.0, step, step), (frame, row, column)))

    animation = torch.cat([at((3, 2, 3), 2, 0.5, 120.5, 2), at((5, 4, 6), 0, 0, 0)], dim=1)
    assert torch.equal(rope_of(ANIMATION), animation)
    parts = [at((3, 2, 3), 1, 0.5, 120.5, 2), at((2, 4, 6), 0, 120, 0), at((3, 4, 6), 1, 0, 0)]
    assert torch.equal(rope_of(REPLACEMENT), torch.cat(parts, dim=1))
    stretched = rope_of(REPLACEMENT, TokenPlaces((2.0, 1.0, 1.0), (0.5, 0.0, 0.0)))
    video = make_rope(head_dim, (3, 4, 6), places=TokenPlaces((2.0, 1.0, 1.0), (2.5, 0.0, 0.0)))
    assert torch.equal(stretched[:, -video.shape[1] :], video)


def test_references_and_poses_of_one_serve_a_batch(models):
    inputs = inputs_of("animation")
    others = replace(inputs, latent=0.5 * inputs.latent)
    clip = ClipInput(inputs.steering[0].features.expand(2, -1, -1))
    both = replace(
        inputs,
        latent=torch.cat([inputs.latent, others.latent]),
        timestep=inputs.timestep.expand(2),
        text=inputs.text.expand(2, -1, -1),
        steering=(clip, *inputs.steering[1:]),
    )
    found = models[2](both)
    for index, alone in enumerate((models[2](inputs), models[2](others))):
        torch.testing.assert_close(found[index : index + 1], alone, rtol=0, atol=2e-6 * alone.abs().max().item())


def test_passes_together_give_the_same_bits_with_all_and_without(models):
    inputs = inputs_of("animation")
    passes = [inputs, replace(inputs, in_context=()), replace(inputs, steering=inputs.steering[:1]), inputs]
    together = models[2].forward_together(passes)
    assert all(torch.equal(one, models[2](each)) for one, each in zip(together, passes))


@pytest.mark.parametrize("way", [1, 2])
@pytest.mark.parametrize("name", ["first version", ALL])
def test_lean_blocks_give_the_same(name, way, models):
    model, lean = models[CASES[name].version], lean_ways(1)[way]
    assert_close(model(inputs_of(name), Execution(may_overwrite=True, lean=lean)), EXPECTED[name])


@pytest.mark.parametrize("may_overwrite", [False, True])
def test_what_steers_is_never_written_into(may_overwrite, models):
    inputs = inputs_of(ALL)
    parts = [part for each in inputs.steering for part in each] + [
        inputs.in_context[0].latent,
        inputs.in_context[0].mask,
    ]
    copies = [part.clone() for part in parts]
    first = models[2](inputs, Execution(may_overwrite=may_overwrite))
    assert all(torch.equal(part, copy) for part, copy in zip(parts, copies))
    torch.testing.assert_close(models[2](inputs), first, rtol=0, atol=1e-6)


def test_windows_tiles_and_devices_reach_them():
    items, asked = items_of(ALL), MODELS["random_inputs"](CASES[ALL])
    pose = ScailPose(asked.pose, asked.pose_mask)
    prompt = Conditioning(asked.text, items, in_context=(pose,))
    assert prompt.steering() == {ScailBranch: 3}
    cut = Cut(1, 3, 3, rows=Span(2, 8, 8), columns=Span(4, 8, 12))
    seen = prompt.window(cut)
    inputs = seen.inputs(asked.latent[:, :, 1:, 2:8, 4:8], asked.timestep)
    assert [each.latent.shape for each in inputs.steering] == [(1, 16, 1, 6, 4)] * 3
    assert torch.equal(inputs.steering[0].mask, asked.reference_masks[0][..., 2:8, 4:8])
    assert torch.equal(inputs.image_channels, asked.kept[:, :, 1:, 2:8, 4:8].expand(2, -1, -1, -1, -1))
    (clip,) = seen.in_context
    assert torch.equal(clip.latent, asked.pose[:, :, 1:, 1:4, 2:4])
    assert torch.equal(clip.mask, asked.pose_mask[:, :, 1:, 1:4, 2:4])
    (size,) = context_sizes(prompt.in_context)
    assert size.tokens((2, 6, 4), 3) == 2 * 2 * 1 and size.tokens((3, 8, 12), 3) == 3 * 2 * 3
    short = replace(pose, latent=pose.latent[:, :, :2], mask=None)
    assert short.window(Cut(1, 3, 3)).latent.shape[2] == 1 and short.window(Cut(2, 3, 3)) is None
    moved = prompt.to(torch.device("meta"))
    assert moved.items[0].mask.is_meta and moved.items[-1].mask.is_meta and moved.in_context[0].mask.is_meta


def test_equal_timesteps_for_each_frame_are_one_timestep_beside_references_alone(models):
    inputs = inputs_of("references alone")
    each = replace(inputs, timestep=inputs.timestep.expand(1, 3))
    assert_close(models[2](each), EXPECTED["references alone"])
    with pytest.raises(InvalidInputError, match="a pose video of SCAIL and a timestep for each frame"):
        models[2](replace(inputs_of("animation"), timestep=inputs.timestep.expand(1, 3)))


LATENT, MASK = torch.zeros(1, 16, 1, 8, 12), torch.zeros(1, 28, 1, 8, 12)
POSE, POSE_MASK = torch.zeros(1, 16, 3, 4, 6), torch.zeros(1, 28, 3, 4, 6)


@pytest.mark.parametrize(
    ("version", "references", "poses", "words"),
    [
        (2, [(torch.zeros(1, 16, 1, 8, 8),)], [], "reference picture was prepared for .*8 x 8.*12 x 8"),
        (2, [(torch.zeros(2, 16, 1, 8, 12),)], [], "reference picture was prepared for"),
        (2, [(LATENT, MASK), (LATENT,)], [], "1 of 2 reference pictures have a mask"),
        (2, [(LATENT, MASK[:, :7])], [], r"mask of a reference picture has the shape \[1, 7, 1, 8, 12\]"),
        (1, [(LATENT, MASK)], [], "masks of SCAIL-2, and this model is the first SCAIL"),
        (2, [], [(torch.zeros(1, 16, 3, 8, 12),)], "pose video has a latent of .*half of its width"),
        (2, [], [(torch.zeros(1, 16, 4, 4, 6),)], "pose video has a latent of"),
        (2, [], [(POSE, POSE_MASK[:, :, :2])], r"mask of the pose video has the shape \[1, 28, 2, 4, 6\]"),
        (1, [], [(POSE, POSE_MASK)], "masks of SCAIL-2, and this model is the first SCAIL"),
    ],
)
def test_what_does_not_fit_is_refused(version, references, poses, words, models):
    inputs = inputs_of("animation")
    steering = (inputs.steering[0], *(ScailReference(*each) for each in references))
    clips = tuple(ScailPose(*each) for each in poses)
    with pytest.raises(PairingError, match=words):
        models[version](replace(inputs, steering=steering, in_context=clips))


def test_other_models_and_texts_in_turn_are_refused(models):
    inputs = inputs_of("animation")
    plain = WanDiT(replace(CONFIGS[2], branches=(ClipBranch(1280),)))
    with pytest.raises(PairingError, match="takes no reference pictures or poses of SCAIL"):
        plain(inputs)
    with pytest.raises(PairingError, match="takes no reference pictures or poses of SCAIL"):
        plain(replace(inputs, steering=inputs.steering[:1]))
    travel = TextTravel((inputs.text,), torch.ones(1, 3))
    with pytest.raises(InvalidInputError, match="A pose video of SCAIL has no place in time"):
        models[2](replace(inputs, travel=travel))


def test_masks_of_a_length_that_is_none_are_refused():
    with pytest.raises(InvalidInputError, match=r"1 \+ 4k frames, got 6"):
        colour_channels(torch.zeros(6, 16, 16, 3), 2, 2)
    with pytest.raises(InvalidInputError, match="Coloured masks are pictures"):
        colour_channels(torch.zeros(5, 16, 16, 4), 2, 2)


@pytest.mark.parametrize("layer", ["patch_embedding_pose", "patch_embedding_mask", "patch_embedding"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("merge", [False, True])
def test_changes_of_its_layers_equal_changed_weights(layer, swapped, merge):
    """A LoRA may change the branch's own layers as well as the blocks, also where those are swapped."""
    model, inputs = build(2), inputs_of(ALL)
    generator = torch.Generator().manual_seed(4)
    names = [f"{layer}.weight", f"{layer}.bias", "blocks.1.self_attn.q.weight"]
    shapes = {name: tuple(model.get_parameter(name).shape) for name in names}
    added = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    changes = {name: (Change(Full(value)),) for name, value in added.items()}
    memory = BlockSwap(1, 0) if swapped else RESIDENT
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


def test_swapped_blocks_give_the_same_bits(models):
    inputs = inputs_of(ALL)
    with BlockSwap(1, 0).streaming(models[2].streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        assert torch.equal(models[2](inputs, Execution(stream=stream)), models[2](inputs))


def test_gradients_reach_poses_and_masks():
    model = build(2).requires_grad_(True)
    model(inputs_of(ALL), Execution(checkpoints=True)).square().mean().backward()
    for name in ("patch_embedding_pose.weight", "patch_embedding_mask.weight", "patch_embedding_mask.bias"):
        assert model.get_parameter(name).grad.abs().max() > 0


def test_a_16_bit_model_stays_near_its_float32_result():
    """The limit is that of the other models."""
    for name in ("first version", ALL):
        velocity = build(CASES[name].version).to(torch.bfloat16)(inputs_of(name))
        assert (velocity - EXPECTED[name]).norm() <= 1.3e-2 * EXPECTED[name].norm()


class _Shapes:
    def __init__(self, **sizes: int) -> None:
        self._sizes = {name.replace("__", "."): size for name, size in sizes.items()}

    def has(self, key: str) -> bool:
        return key in self._sizes

    def size(self, key: str, dimension: int) -> int:
        return self._sizes[key]


def test_what_a_file_has_tells_the_version():
    pose, mask = {"patch_embedding_pose__weight": 20}, {"patch_embedding_mask__weight": 28}
    assert ScailBranch.read(_Shapes()) is None
    assert ScailBranch.read(_Shapes(**pose)) == ScailBranch(20, 0)
    assert ScailBranch.read(_Shapes(**pose, **mask)) == ScailBranch(20, 28)
    with pytest.raises(FileFault, match="an embedding of masks and none of poses"):
        ScailBranch.read(_Shapes(**mask))
