"""Wan-Animate's transformer: against diffusers' WanAnimateTransformer3DModel, and ComfyUI's recorded outputs."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wan_director.common.errors import PairingError
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, adapted
from wan_director.dit.branches.animate.face import FaceBranch, FaceInput
from wan_director.dit.branches.animate.motion import MotionSizes
from wan_director.dit.branches.animate.pose import AnimatePoseBranch, AnimatePoseInput
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.conditioning.characters.animate import AnimatePoseVideo, FaceVideo
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, lean_ways
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.memory.slabs import Slabs

from .conftest import official_name

FIXTURES = Path(__file__).parent / "fixtures"
NATIVE, EXPECTED = (
    runpy.run_path(str(FIXTURES / "animate_models.py")),
    load_file(FIXTURES / "animate_outputs.safetensors"),
)
MOTION = MotionSizes((4, 6, 8), style=12, linears=3, directions=5, features=16)
POSE, FACE = AnimatePoseBranch(), FaceBranch(2, MOTION, width=24, tokens=3)
SIZES = {"dim": 256, "ffn_dim": 320, "heads": 2, "layers": 10, "text_dim": 48}
ANIMATE = DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(40), POSE, FACE))
SHAPE = (4, 6, 10)
"""Latent frames, the reference's among them, height and width."""
FRAMES = 9

FACE_NAMES = (
    (r"motion_encoder\.motion_synthesis_weight", r"motion_encoder.dec.direction.weight"),
    (r"motion_encoder\.motion_network", r"motion_encoder.enc.fc"),
    (r"motion_encoder\.conv_in\.weight", r"motion_encoder.enc.net_app.convs.0.0.weight"),
    (r"motion_encoder\.conv_in\.act_fn", r"motion_encoder.enc.net_app.convs.0.1"),
    (r"motion_encoder\.conv_out", r"motion_encoder.enc.net_app.convs.3"),
    (r"(face_encoder\.(?:conv1_local|conv2|conv3))", r"\1.conv"),
)  # fmt: skip
BLOCK_PARTS = {
    "conv1.weight": "conv1.0.weight", "conv1.act_fn.bias": "conv1.1.bias", "conv2.weight": "conv2.1.weight",
    "conv2.act_fn.bias": "conv2.2.bias", "conv_skip.weight": "skip.1.weight",
}  # fmt: skip
ADAPTER_PARTS = {"to_q": "linear1_q", "to_out": "linear2", "norm_q": "q_norm", "norm_k": "k_norm"}


def official(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Diffusers' weights under the names of the official checkpoint, without the constant kernels of that."""
    weights = {}
    for name, value in state.items():
        block = re.fullmatch(r"motion_encoder\.res_blocks\.(\d+)\.(.+)", name)
        adapter = re.fullmatch(r"face_adapter\.(\d+)\.(\w+)\.(\w+)", name)
        if block:
            weights[f"motion_encoder.enc.net_app.convs.{int(block[1]) + 1}.{BLOCK_PARTS[block[2]]}"] = value
        elif adapter and adapter[2] == "to_k":
            both = torch.cat([value, state[name.replace("to_k", "to_v")]])
            weights[f"face_adapter.fuser_blocks.{adapter[1]}.linear1_kv.{adapter[3]}"] = both
        elif adapter and adapter[2] != "to_v":
            weights[f"face_adapter.fuser_blocks.{adapter[1]}.{ADAPTER_PARTS[adapter[2]]}.{adapter[3]}"] = value
        elif name.startswith(("motion_encoder", "face_encoder")):
            for pattern, renamed in FACE_NAMES:
                name = re.sub(pattern, renamed, name)
            weights[name] = value
        elif not adapter:
            weights[official_name(name)] = value
    return {
        name: value.view(1, -1, 1, 1) if "net_app" in name and value.ndim == 1 else value
        for name, value in weights.items()
    }


@pytest.fixture(scope="module")
def pair():
    """(our model, diffusers' model), same weights, float32."""
    from diffusers import WanAnimateTransformer3DModel

    torch.manual_seed(0)
    theirs = WanAnimateTransformer3DModel(
        num_attention_heads=2, attention_head_dim=128, text_dim=48, ffn_dim=320, num_layers=10, image_dim=40,
        added_kv_proj_dim=256, motion_encoder_channel_sizes={"4": 8, "8": 6, "16": 4}, motion_encoder_size=16,
        motion_style_dim=12, motion_dim=5, motion_encoder_dim=16, face_encoder_hidden_dim=24, face_encoder_num_heads=3,
    )  # fmt: skip
    theirs.motion_encoder.motion_network = theirs.motion_encoder.motion_network[-3:]
    for parameter in theirs.parameters():  # norms and biases start at one or zero, which hides mistakes
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    ours = WanDiT(ANIMATE).eval().requires_grad_(False)
    ours.load_state_dict(official(theirs.state_dict()))
    return ours, theirs.eval().requires_grad_(False)


def inputs_of(batch: int = 1) -> DitInputs:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    text = random(batch, 512, 48)
    text[:, 40:] = 0
    steering = (
        ClipInput(random(batch, 17, 40)),
        AnimatePoseInput(random(batch, 16, 3, *SHAPE[1:])),
        FaceInput(random(batch, 3, FRAMES, 16, 16).clamp(-1, 1), SHAPE[0]),
    )
    timestep = torch.tensor([613.25, 120.5][:batch])
    return DitInputs(random(batch, 16, *SHAPE), timestep, text, random(batch, 20, *SHAPE), steering)


def without(inputs: DitInputs, kind: type) -> DitInputs:
    return replace(inputs, steering=tuple(each for each in inputs.steering if each.branch is not kind))


def close(velocity: torch.Tensor, expected: torch.Tensor, limit: float = 1e-5) -> None:
    assert (velocity - expected).abs().max() <= limit * expected.abs().max()
    assert (velocity - expected).norm() <= limit / 2 * expected.norm()


@pytest.mark.parametrize("batch", [1, 2])
def test_velocity_equals_diffusers(pair, batch):
    ours, theirs = pair
    inputs = inputs_of(batch)
    clip, poses, face = inputs.steering
    latent = torch.cat([inputs.latent, inputs.image_channels], dim=1)
    expected = theirs(latent, inputs.timestep, inputs.text, clip.features, poses.latent, face.pixels).sample
    close(ours(inputs), expected)
    close(ours(inputs, Execution(may_overwrite=True)), expected)


@pytest.fixture(scope="module")
def native():
    return of_comfyui()


def of_comfyui() -> tuple[WanDiT, DitInputs]:
    """A model with the weights of the recorded outputs, and what it is asked."""
    sizes = NATIVE["SIZES"]
    branches = (ClipBranch(NATIVE["CLIP_WIDTH"]), AnimatePoseBranch(), FaceBranch(NATIVE["BLOCKS"]))
    model = WanDiT(DiTConfig(**sizes, in_channels=NATIVE["IN_CHANNELS"], branches=branches))
    weights = NATIVE["random_like"]({name: tuple(value.shape) for name, value in model.state_dict().items()})
    model.load_state_dict(weights)
    total = sum(value.double().sum() for value in weights.values())
    torch.testing.assert_close(total.reshape(1), EXPECTED["weights"])  # else the fixture is of other weights
    asked = NATIVE["random_inputs"]()
    latent, channels = asked["x"].split([16, 20], dim=1)
    steering = (
        ClipInput(asked["clip_fea"]),
        AnimatePoseInput(asked["pose_latents"]),
        FaceInput(asked["face_pixel_values"], latent.shape[2]),
    )
    return model.eval().requires_grad_(False), DitInputs(
        latent, asked["timestep"], asked["context"], channels, steering
    )


def test_velocity_equals_comfyui(native):
    model, inputs = native
    close(model(inputs), EXPECTED["velocity"])
    close(model(without(inputs, FaceBranch)), EXPECTED["without a face"])
    close(model(without(inputs, AnimatePoseBranch)), EXPECTED["without poses"])


def test_the_motion_of_a_face_equals_comfyuis(native):
    model, inputs = native
    pixels = inputs.steering[-1].pixels
    motion = torch.cat([model.motion_encoder(picture) for picture in pixels.unbind(2)])
    assert (motion - EXPECTED["motion"]).abs().max() <= 1e-5 * EXPECTED["motion"].abs().max()
    faces = model.face_encoder(torch.randn(1, 9, 512, generator=torch.Generator().manual_seed(7)))
    assert (faces - EXPECTED["faces"]).abs().max() <= 1e-5 * EXPECTED["faces"].abs().max()


@pytest.mark.parametrize("kind", [AnimatePoseBranch, FaceBranch])
def test_a_branch_that_nothing_steers_is_as_if_it_were_not_there(pair, kind):
    model, inputs = pair[0], inputs_of()
    plain = WanDiT(ANIMATE.without(kind)).eval()
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key in plain.state_dict()})
    with torch.no_grad():
        alone = plain(without(inputs, kind))
    assert torch.equal(model(without(inputs, kind)), alone)
    assert (model(inputs) - alone).norm() > 1e-3 * alone.norm()


def test_one_face_and_pose_video_serve_a_batch(pair):
    model, inputs = pair[0], inputs_of(2)
    clip, poses, face = inputs.steering
    shared = (clip, AnimatePoseInput(poses.latent[:1]), face._replace(pixels=face.pixels[:1]))
    twice = (poses.latent[:1].repeat(2, 1, 1, 1, 1), face.pixels[:1].repeat(2, 1, 1, 1, 1))
    repeated = (clip, AnimatePoseInput(twice[0]), face._replace(pixels=twice[1]))
    close(model(replace(inputs, steering=shared)), model(replace(inputs, steering=repeated)))


def test_shorter_poses_and_faces_leave_the_rest_free(pair):
    """Tokens behind the end of the poses get nothing; those behind a face look at zeros, as in ComfyUI."""
    model, inputs = pair[0], inputs_of()
    clip, poses, face = inputs.steering
    embedded = model.embed(replace(inputs, steering=(clip, AnimatePoseInput(poses.latent[:, :, :1]), face)))
    whole, nothing = model.embed(inputs), model.embed(without(inputs, AnimatePoseBranch))
    of_frame = 15
    for frame, expected in enumerate((nothing, whole, nothing, nothing)):
        rows = slice(frame * of_frame, (frame + 1) * of_frame)
        assert torch.equal(embedded.tokens[:, rows], expected.tokens[:, rows])
    faces = model.embed(replace(inputs, steering=(clip, face._replace(pixels=face.pixels[:, :, :5])))).runs[FaceBranch]
    longer = model.embed(inputs).runs[FaceBranch]
    torch.testing.assert_close(faces._faces[:, :3], longer._faces[:, :3])
    assert not faces._faces[:, 3].any() and not faces._faces[:, 0].any() and longer._faces[:, 3].any()


@pytest.mark.parametrize("lean", lean_ways(2))
def test_lean_blocks_and_passes_together_give_the_same(pair, lean):
    model, inputs = pair[0], inputs_of()
    expected = model(inputs)
    way = Execution(may_overwrite=True, lean=lean)
    together = model.forward_together([inputs, without(inputs, FaceBranch), inputs], way)
    close(together[0], expected, 2e-6)
    assert torch.equal(together[0], together[2])
    close(together[1], model(without(inputs, FaceBranch)), 2e-6)


def test_frames_in_runs_give_the_same(pair, monkeypatch):
    model, inputs = pair[0], inputs_of(2)
    expected = model(inputs, Execution(may_overwrite=True))
    monkeypatch.setattr("wan_director.dit.branches.animate.adapter.MATRIX_RUN", 90)  # 45 tokens: one frame at a time
    close(model(inputs, Execution(may_overwrite=True)), expected, 2e-6)
    close(model(inputs), expected, 2e-6)


def test_a_timestep_for_each_frame_is_that_of_all_where_they_are_equal(pair):
    model, inputs = pair[0], inputs_of()
    close(model(replace(inputs, timestep=inputs.timestep.expand(1, SHAPE[0]))), model(inputs))


@pytest.mark.parametrize("may_overwrite", [False, True])
def test_what_steers_is_never_written_into(pair, may_overwrite):
    model, inputs = pair[0], inputs_of()
    copies = [each[0].clone() for each in inputs.steering]
    model(inputs, Execution(may_overwrite=may_overwrite))
    assert all(torch.equal(each[0], copy) for each, copy in zip(inputs.steering, copies))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize(
    "layer", ["pose_patch_embedding", "face_encoder.out_proj", "face_adapter.fuser_blocks.1.linear1_kv"]
)
def test_changes_of_its_layers_equal_changed_weights(layer, swapped, merge):
    """A LoRA may change the branches' own layers as well as the blocks, also where those are swapped."""
    torch.manual_seed(5)
    model, inputs = WanDiT(ANIMATE).eval().requires_grad_(False), inputs_of()
    names = [f"{layer}.weight", f"{layer}.bias", "blocks.1.self_attn.q.weight"]
    added = {name: 0.02 * torch.randn(model.get_parameter(name).shape) for name in names}
    changes = {name: (Change(Full(value)),) for name, value in added.items()}
    memory = BlockSwap(4, 1) if swapped else RESIDENT
    with (
        adapted(model, [AppliedAdapter(Adapter("test", changes), 0.5, merge=merge)]),
        memory.streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream,
    ):
        velocity = model(inputs, Execution(stream=stream))
    plain = model(inputs)
    for name, value in added.items():
        model.get_parameter(name).data.add_(value, alpha=0.5)
    expected = model(inputs)
    close(velocity, expected)
    assert (plain - expected).abs().max() > 1e-4 * expected.abs().max()


def test_its_blocks_are_streamed_in_their_place():
    with torch.device("meta"):
        model = WanDiT(ANIMATE)
    names = {module: name for name, module in model.named_modules()}
    order = [names[block] for block in model.streamed_blocks]
    assert order[:2] == ["blocks.0", "face_adapter.fuser_blocks.0"]
    assert order[5:8] == ["blocks.4", "blocks.5", "face_adapter.fuser_blocks.1"] and len(order) == 12


def test_gradients_reach_poses_and_face():
    torch.manual_seed(6)
    model = WanDiT(ANIMATE).requires_grad_(True)
    for way in (Execution(), Execution(checkpoints=True)):
        model.zero_grad()
        model(inputs_of(), way).square().mean().backward()
        for name in ("pose_patch_embedding.weight", "face_adapter.fuser_blocks.1.linear2.weight",
                     "motion_encoder.enc.net_app.convs.0.0.weight"):  # fmt: skip
            assert model.get_parameter(name).grad.abs().max() > 0


def test_a_16_bit_model_stays_near_its_float32_result(pair):
    """The limit is that of the other models, see parity.md."""
    inputs, model = inputs_of(), WanDiT(ANIMATE).eval()
    model.load_state_dict(pair[0].state_dict())
    expected = pair[0](inputs)
    with torch.no_grad():
        assert (model.to(torch.bfloat16)(inputs) - expected).norm() <= 1.3e-2 * expected.norm()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ([AnimatePoseInput(torch.zeros(1, 16, 3, 6, 8))], "prepared for a latent of .*8 x 6, but .*10 x 6"),
        (
            [AnimatePoseInput(torch.zeros(1, 16, 4, 6, 10))],
            "4 latent frames of 10 x 6, but the latent to sample has 16",
        ),
        ([AnimatePoseInput(torch.zeros(1, 16, 3, 6, 10))] * 2, "2 pose videos, and the model follows one"),
        ([FaceInput(torch.zeros(1, 3, 9, 32, 32), 4)], r"face video has the shape .* takes \[1, 3, frames, 16, 16\]"),
        ([FaceInput(torch.zeros(3, 3, 9, 16, 16), 4)], "There are 3 face videos, but the latent has 1 videos"),
        ([FaceInput(torch.zeros(1, 3, 9, 16, 16), 4)] * 2, "2 face videos, and the model follows one"),
    ],
)
def test_what_does_not_fit_is_refused(pair, changed, words):
    with pytest.raises(PairingError, match=words):
        pair[0](replace(inputs_of(), steering=tuple(changed)))


@pytest.mark.parametrize(
    ("steering", "words"),
    [
        (AnimatePoseInput(torch.zeros(1, 16, 3, 6, 10)), "cannot follow poses"),
        (FaceInput(torch.zeros(1, 3, 9, 16, 16), 4), "cannot follow a face"),
    ],
)
def test_another_model_takes_none(steering, words):
    plain = WanDiT(DiTConfig(**SIZES, in_channels=36))
    with pytest.raises(PairingError, match=words):
        plain(replace(inputs_of(), steering=(steering,)))


@pytest.mark.parametrize(("start", "stop", "references"), [(1, 6, 1), (2, 5, 1), (4, 8, 1), (7, 10, 1), (0, 4, 0)])
def test_a_window_sees_the_poses_and_hears_the_face_of_its_time(pair, start, stop, references):
    model, generator = pair[0], torch.Generator().manual_seed(8)
    poses, pixels = torch.randn(1, 16, 9, 6, 10, generator=generator), torch.rand(1, 3, 33, 16, 16, generator=generator)
    prompt = Conditioning(torch.zeros(1, 512, 48), (AnimatePoseVideo(poses), FaceVideo(pixels)), references)
    cut = Cut(start, stop, 10, references)
    whole = model.embed(prompt.inputs(torch.zeros(1, 16, 10, 6, 10), torch.zeros(1))).runs[FaceBranch]
    inputs = prompt.window(cut).inputs(torch.zeros(1, 16, cut.length, 6, 10), torch.zeros(1))
    seen = model.embed(inputs).runs[FaceBranch]
    first = start - references
    torch.testing.assert_close(seen._faces[:, 1:], whole._faces[:, first + 1 : stop], rtol=0, atol=2e-6)
    assert torch.equal(inputs.steering[0].latent, poses[:, :, first : stop - 1])
    assert inputs.steering[1].pixels.shape[2] <= 4 * (cut.length + 1) + 1


def test_a_window_behind_the_end_of_a_face_and_poses_sees_none(pair):
    items = (AnimatePoseVideo(torch.ones(1, 16, 2, 6, 10)), FaceVideo(torch.ones(1, 3, 5, 16, 16)))
    prompt = Conditioning(torch.zeros(1, 512, 48), items, 1)
    inputs = prompt.window(Cut(6, 9, 10, 1)).inputs(torch.zeros(1, 16, 4, 6, 10), torch.zeros(1))
    assert not pair[0].embed(inputs).runs[FaceBranch]._faces.any() and not inputs.steering[0].latent.shape[2]
    moved = prompt.to(torch.device("meta")).items
    assert moved[0].latent.is_meta and moved[1].pixels.device.type == "cpu"  # its pictures go there one at a time
    rows = Cut(1, 10, 10, 1, rows=Span(2, 6, 6), columns=Span(0, 4, 10))
    assert prompt.window(rows).items[0].latent.shape == (1, 16, 2, 4, 4)
