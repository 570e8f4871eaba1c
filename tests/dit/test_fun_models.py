"""The Wan Fun family: reference pictures, camera paths and control channels, against diffsynth's recorded outputs."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.shapes import VideoShape
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, adapted
from wan_director.dit.branches.camera import CameraBranch, CameraInput
from wan_director.dit.branches.clip import ClipInput
from wan_director.dit.branches.reference import ReferenceBranch, ReferenceInput
from wan_director.dit.conditioning.camera import CameraPath, Lens, camera_rays
from wan_director.dit.conditioning.camera_moves import MOVES, move_poses
from wan_director.dit.conditioning.control_video import ControlVideo
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.conditioning.reference import ReferencePicture
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.rope import TokenPlaces, make_rope
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.slabs import Slabs

FIXTURES = Path(__file__).parent / "fixtures"
FAMILY = runpy.run_path(str(FIXTURES / "fun_models.py"))
CONFIGS, EXPECTED = FAMILY["CONFIGS"], load_file(FIXTURES / "fun_outputs.safetensors")
CONTROL, CAMERA = CONFIGS["fun-control A14B"], CONFIGS["fun-camera A14B"]


def build(config: DiTConfig) -> WanDiT:
    model = WanDiT(config)
    model.load_state_dict(
        FAMILY["random_like"]({name: tuple(value.shape) for name, value in model.state_dict().items()})
    )
    return model.eval().requires_grad_(False)


def inputs_of(config: DiTConfig) -> DitInputs:
    asked = FAMILY["random_inputs"](config)
    steering = [
        kind(value)
        for kind, value in ((ClipInput, asked.clip), (ReferenceInput, asked.reference), (CameraInput, asked.rays))
        if value is not None
    ]
    return DitInputs(asked.latent, asked.timestep, asked.text, asked.channels, tuple(steering))


def without(inputs: DitInputs, kind: type) -> DitInputs:
    return replace(inputs, steering=tuple(each for each in inputs.steering if each.branch is not kind))


def twice(inputs: DitInputs) -> DitInputs:
    """The inputs as a batch of two, whose second latent is another."""
    both = {name: torch.cat([getattr(inputs, name)] * 2) for name in ("timestep", "text", "image_channels")}
    return replace(inputs, latent=torch.cat([inputs.latent, 0.5 * inputs.latent]), **both)


@pytest.mark.parametrize("name", CONFIGS)
def test_velocity_equals_diffsynth(name):
    model = build(CONFIGS[name])
    weights = sum(value.double().sum() for value in model.state_dict().values())
    torch.testing.assert_close(weights.reshape(1), EXPECTED[f"{name} weights"])  # else the fixture is of other weights
    velocity, expected = model(inputs_of(CONFIGS[name])), EXPECTED[name]
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (velocity - expected).norm() <= 5e-6 * expected.norm()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("fun-control 1.1", ReferenceBranch), ("fun-camera 1.1", CameraBranch), ("fun-camera A14B", CameraBranch)],
)
def test_a_branch_that_nothing_steers_is_as_if_it_were_not_there(name, kind):
    config = CONFIGS[name]
    model, plain, inputs = build(config), WanDiT(config.without(kind)).eval(), inputs_of(config)
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key in plain.state_dict()})
    with torch.no_grad():
        alone = plain(without(inputs, kind))
    assert torch.equal(model(without(inputs, kind)), alone)
    assert (model(inputs) - alone).norm() > 1e-2 * alone.norm()


@pytest.mark.parametrize("name", ["fun-control 1.1", "fun-camera A14B"])
def test_one_reference_or_path_serves_a_batch(name):
    model, inputs = build(CONFIGS[name]), inputs_of(CONFIGS[name])
    others = replace(inputs, latent=0.5 * inputs.latent)
    clip = tuple(
        each._replace(features=each.features.expand(2, -1, -1)) if isinstance(each, ClipInput) else each
        for each in inputs.steering
    )
    both = model(replace(twice(inputs), steering=clip))
    for index, alone in enumerate((model(inputs), model(others))):
        torch.testing.assert_close(both[index : index + 1], alone, rtol=0, atol=2e-6 * alone.abs().max().item())


def test_passes_together_give_the_same_bits_with_a_reference_and_without():
    model, inputs = build(CONTROL), inputs_of(CONTROL)
    passes = [inputs, without(inputs, ReferenceBranch), inputs]
    together = model.forward_together(passes)
    assert all(torch.equal(one, model(each)) for one, each in zip(together, passes))


@pytest.mark.parametrize("may_overwrite", [False, True])
@pytest.mark.parametrize("config", [CONTROL, CAMERA], ids=["reference", "camera"])
def test_what_steers_is_never_written_into(config, may_overwrite):
    model, inputs = build(config), inputs_of(config)
    copies = [each[0].clone() for each in inputs.steering]
    first = model(inputs, Execution(may_overwrite=may_overwrite))
    assert all(torch.equal(each[0], copy) for each, copy in zip(inputs.steering, copies))
    torch.testing.assert_close(model(inputs), first, rtol=0, atol=1e-6)


def test_equal_timesteps_for_each_frame_are_one_timestep():
    model, inputs = build(CONTROL), inputs_of(CONTROL)
    each = replace(inputs, timestep=inputs.timestep.expand(1, 3))
    velocity, expected = model(each), model(inputs)
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_reference_stands_at_the_first_place_in_time():
    """So that stretched and shifted places count from it on, as in ComfyUI's rope_encode."""
    inputs = replace(inputs_of(CONTROL), places=TokenPlaces(scale=(2.0, 1.0, 1.0), shift=(0.5, 0.0, 0.0)))
    rope = build(CONTROL).embed(inputs).context.rope.unflatten(1, (4, 3, 5))
    every_second = make_rope(CONTROL.head_dim, (8, 3, 5), places=TokenPlaces(shift=(0.5, 0.0, 0.0)))
    assert torch.equal(rope, every_second.unflatten(1, (8, 3, 5))[:, ::2])


def test_the_channels_beside_the_latent_by_their_parts():
    assert [(config.control_channels, config.mask_channels) for config in CONFIGS.values()] == [
        (16, 0), (16, 0), (16, 4), (0, 4), (0, 0), (0, 4),
    ]  # fmt: skip
    of_5b = DiTConfig(**FAMILY["SIZES"], in_channels=148, out_channels=48)
    assert (of_5b.control_channels, of_5b.mask_channels) == (48, 4)
    control, mask, start = (torch.randn(1, channels, 3, 6, 10) for channels in (16, 4, 16))
    inputs = DitInputs(torch.zeros(2, 16, 3, 6, 10), torch.zeros(2), torch.zeros(2, 8, 4))
    for parts in ((control, mask, start), (control, None, start)):
        item = ControlVideo(parts[0], KeyframeImages(parts[2], parts[1]))
        filled = item.apply(inputs).image_channels
        expected = torch.cat([part for part in parts if part is not None], dim=1)
        assert torch.equal(filled, expected.expand(2, -1, -1, -1, -1))
        cut = item.window(Cut(1, 3, 3)).apply(replace(inputs, latent=inputs.latent[:, :, 1:]))
        assert torch.equal(cut.image_channels, filled[:, :, 1:])


def test_windows_and_devices_reach_them():
    rays, picture = torch.randn(1, 24, 3, 48, 80), torch.randn(1, 16, 1, 6, 10)
    prompt = Conditioning(torch.zeros(1, 512, 48), (CameraPath(rays), ReferencePicture(picture)))
    assert prompt.steering() == {CameraBranch: 1, ReferenceBranch: 1}
    path, reference = prompt.window(Cut(1, 3, 3)).inputs(torch.zeros(1, 16, 2, 6, 10), torch.zeros(1)).steering
    assert torch.equal(path.rays, rays[:, :, 1:]) and torch.equal(reference.latent, picture)
    path, reference = prompt.to(torch.device("meta")).items
    assert path.rays.device.type == "cpu" and reference.latent.is_meta  # rays go there one latent frame at a time


@pytest.mark.parametrize(
    ("config", "steering", "words"),
    [
        (CONTROL, [ReferenceInput(torch.zeros(1, 16, 1, 6, 8))], "reference picture was prepared for .*8 x 6.*10 x 6"),
        (CONTROL, [ReferenceInput(torch.zeros(1, 16, 1, 6, 10))] * 2, "2 reference pictures, and the model takes one"),
        (CAMERA, [CameraInput(torch.zeros(1, 24, 3, 48, 64))], "3 latent frames of 64 x 48 pixels, but .* of 80 x 48"),
        (CAMERA, [CameraInput(torch.zeros(1, 24, 2, 48, 80))], "made for 2 latent frames .* but the video has 3"),
        (CAMERA, [CameraInput(torch.zeros(3, 24, 3, 48, 80))], "There are 3 camera paths, but the latent has 1 videos"),
        (CAMERA, [CameraInput(torch.zeros(1, 24, 3, 48, 80))] * 2, "2 camera paths, and the model follows one"),
        (CAMERA, [ReferenceInput(torch.zeros(1, 16, 1, 6, 10))], "This model takes no reference picture"),
        (CONTROL, [CameraInput(torch.zeros(1, 24, 3, 48, 80))], "This model cannot follow a camera's path"),
    ],
)
def test_what_does_not_fit_is_refused(config, steering, words):
    with pytest.raises(PairingError, match=words):
        build(config)(replace(inputs_of(config), steering=tuple(steering)))


def test_a_path_of_poses_and_lenses_has_diffsynths_rays():
    path = EXPECTED["path"].numpy()
    world_to_camera = np.tile(np.eye(4), (len(path), 1, 1))
    world_to_camera[:, :3] = path[:, 7:].reshape(-1, 3, 4)
    lenses = [Lens(*row[1:5]) for row in path]
    rays = camera_rays(np.linalg.inv(world_to_camera), lenses, VideoShape(len(path), 24, 32))
    expected = EXPECTED["rays"].permute(3, 0, 1, 2)  # [6, F, H, W]
    assert rays.shape == (1, 24, 3, 24, 32)
    frames = rays.unflatten(1, (6, 4))[0]  # [6, 4, T, H, W]
    for part in range(4):
        torch.testing.assert_close(frames[:, part, 0], expected[:, 0], rtol=0, atol=2e-6)
        torch.testing.assert_close(frames[:, part, 1], expected[:, 1 + part], rtol=0, atol=2e-6)
        torch.testing.assert_close(frames[:, part, 2], expected[:, 5 + part], rtol=0, atol=2e-6)
    assert frames[:3].abs().max() > 0.1  # the camera moves


def test_the_rays_of_a_resting_camera_are_directions_alone():
    rays = camera_rays(move_poses(MOVES["static"], 5, 1.0), [Lens()], VideoShape(5, 16, 32)).unflatten(1, (6, 4))
    assert not rays[:, :3].any() and torch.equal(rays[:, :, :, 0], rays[:, :, :, 1])
    torch.testing.assert_close(rays[:, 3:].norm(dim=1), torch.ones(1, 4, 2, 16, 32))


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [("turn right", 0, 1), ("turn left", 0, -1), ("turn down", 1, 1), ("turn up", 1, -1)],
)
def test_a_turned_camera_looks_where_it_is_said(name, axis, sign):
    """Axes: right, down, forward; in the middle of the picture."""
    rays = camera_rays(move_poses(MOVES[name], 9, 1.0), [Lens()], VideoShape(9, 16, 16)).unflatten(1, (6, 4))
    middle = rays[0, 3:, 3, -1, 7:9, 7:9].mean((1, 2))
    assert sign * middle[axis] > 0.5 and middle[1 - axis].abs() < 1e-3


def test_a_path_of_a_length_that_is_none_is_refused():
    with pytest.raises(InvalidInputError, match=r"1 \+ 4k frames, got 6"):
        camera_rays(move_poses(MOVES["pan up"], 6, 1.0), [Lens()], VideoShape(6, 16, 16))


@pytest.mark.parametrize(
    ("config", "layer"),
    [(CONTROL, "ref_conv"), (CAMERA, "control_adapter.conv"), (CAMERA, "control_adapter.residual_blocks.0.conv2")],
    ids=["reference", "camera", "residual"],
)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("merge", [False, True])
def test_changes_of_its_layers_equal_changed_weights(config, layer, swapped, merge):
    """A LoRA may change the branch's own layers as well as the blocks, also where those are swapped."""
    model, inputs = build(config), inputs_of(config)
    generator = torch.Generator().manual_seed(4)
    names = [f"{layer}.weight", f"{layer}.bias", "blocks.1.self_attn.q.weight"]
    shapes = {name: tuple(model.get_parameter(name).shape) for name in names}
    added = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
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


def test_gradients_reach_a_reference_and_a_camera():
    for config, name in ((CONTROL, "ref_conv.weight"), (CAMERA, "control_adapter.conv.weight")):
        model = build(config).requires_grad_(True)
        model(inputs_of(config), Execution(checkpoints=True)).square().mean().backward()
        assert model.get_parameter(name).grad.abs().max() > 0


def test_a_16_bit_model_stays_near_its_float32_result():
    """The limit is that of the other models, see parity.md."""
    for name in ("fun-control A14B", "fun-camera 1.1"):
        velocity = build(CONFIGS[name]).to(torch.bfloat16)(inputs_of(CONFIGS[name]))
        assert (velocity - EXPECTED[name]).norm() <= 1.3e-2 * EXPECTED[name].norm()
