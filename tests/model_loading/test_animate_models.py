"""Wan-Animate from files: diffusers' names, packed, cast to fp8 and plain, with the constants that such files carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.errors import CheckpointError
from wan_director.dit.branches.animate.face import FaceBranch, FaceInput
from wan_director.dit.branches.animate.motion import MotionSizes
from wan_director.dit.branches.animate.pose import AnimatePoseBranch, AnimatePoseInput
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import check_complete, load
from wan_director.model_loading.footprint import model_bytes
from wan_director.model_loading.kinds import DIT
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint

FACE = FaceBranch(1, MotionSizes((4, 6, 8), style=12, linears=5, directions=5, features=16), width=24, tokens=3)
SIZES = {"dim": 256, "ffn_dim": 512, "heads": 2, "layers": 5, "text_dim": 4096}
ANIMATE = DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(64), AnimatePoseBranch(), FACE))
FP32 = {"precision": "fp32", "device": "cpu"}


def weights_of(config: DiTConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in WanDiT(config).state_dict().items()}
    return {
        name: torch.randn(shape, generator=generator) / 12 + float("norm" in name and "weight" in name)
        for name, shape in shapes.items()
    }


def inputs_of() -> DitInputs:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    steering = (
        ClipInput(random(1, 257, 64)), AnimatePoseInput(random(1, 16, 2, 4, 6)), FaceInput(random(1, 3, 5, 16, 16), 3),
    )  # fmt: skip
    return DitInputs(
        random(1, 16, 3, 4, 6), torch.tensor([500.0]), random(1, 512, 4096), random(1, 20, 3, 4, 6), steering
    )


@torch.no_grad()
def answer(weights: Mapping[str, Tensor]) -> Tensor:
    model = WanDiT(ANIMATE)
    model.load_state_dict(weights)
    return model.eval()(inputs_of())


def assert_close(velocity: Tensor, expected: Tensor, limit: float) -> None:
    assert expected.abs().max() > 0.1
    assert (velocity - expected).abs().max() <= limit * expected.abs().max()


@torch.no_grad()
def test_a_file_of_diffusers_computes_as_diffusers(tmp_path: Path) -> None:
    from diffusers import WanAnimateTransformer3DModel

    torch.manual_seed(0)
    theirs = WanAnimateTransformer3DModel(
        num_attention_heads=2, attention_head_dim=128, text_dim=4096, ffn_dim=512, num_layers=5, image_dim=64,
        added_kv_proj_dim=256, motion_encoder_channel_sizes={"4": 8, "8": 6, "16": 4}, motion_encoder_size=16,
        motion_style_dim=12, motion_dim=5, motion_encoder_dim=16, face_encoder_hidden_dim=24, face_encoder_num_heads=3,
    )  # fmt: skip
    for parameter in theirs.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({name: value.contiguous() for name, value in theirs.state_dict().items()}, path)
    (tmp_path / "config.json").write_text('{"_class_name": "WanAnimateTransformer3DModel"}')
    loaded, asked = load(DIT, path, **FP32), inputs_of()
    assert loaded.spec.config == ANIMATE and loaded.spec.naming == "diffusers"
    clip, poses, face = asked.steering
    latent = torch.cat([asked.latent, asked.image_channels], dim=1)
    expected = theirs.eval()(latent, asked.timestep, asked.text, clip.features, poses.latent, face.pixels).sample
    assert_close(loaded.module(asked), expected, 1e-5)


@torch.no_grad()
def test_constant_kernels_in_a_file_are_left_out(tmp_path: Path) -> None:
    weights = weights_of(ANIMATE)
    names = [f"{block}.{part}.0.kernel" for block in (1, 2) for part in ("conv2", "skip")]
    kernels = {f"motion_encoder.enc.net_app.convs.{name}": torch.ones(4, 4) for name in names}
    path = tmp_path / "model.safetensors"
    save_file({**weights, **kernels}, path)
    loaded = load(DIT, path, **FP32)
    assert loaded.spec.config == ANIMATE and set(loaded.spec.extras) == set(kernels)
    assert_close(loaded.module(inputs_of()), answer(weights), 1e-6)


@torch.no_grad()
def test_a_packed_file_computes_as_its_plain_weights(write_gguf) -> None:
    """Also where a matrix of the encoder of faces, which no block is, is packed."""
    stored, plain = {}, {}
    for key, weight in weights_of(ANIMATE).items():
        if weight.ndim == 2 and weight.shape[1] % 32 == 0 and key.endswith("weight"):
            packed = gguf.quantize(weight.numpy(), Ggml.Q8_0)
            stored[key], plain[key] = (packed, "Q8_0"), torch.from_numpy(gguf.dequantize(packed, Ggml.Q8_0))
        elif weight.ndim == 5:  # the format has four dimensions
            stored[key], plain[key] = weight.flatten(0, 1).numpy(), weight
        else:
            stored[key], plain[key] = weight.numpy(), weight
    loaded = load(DIT, write_gguf(stored, {"general.architecture": "wan"}), **FP32)
    assert loaded.spec.config == ANIMATE and loaded.spec.weight_format.name == "GGUF"
    assert_close(loaded.module(inputs_of()), answer(plain), 1e-6)


@torch.no_grad()
def test_a_cast_file_keeps_poses_and_face_plain(tmp_path: Path) -> None:
    weights = weights_of(ANIMATE)
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    cast = load(DIT, path, precision="fp8_scaled", device="cpu").module
    assert cast.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
    for name in ("pose_patch_embedding.weight", "face_adapter.fuser_blocks.0.linear1_kv.weight"):
        assert cast.get_parameter(name).dtype in (torch.bfloat16, torch.float32)
    velocity = cast(inputs_of())
    assert (velocity - answer(weights)).norm() < 0.1 * velocity.norm()


def test_its_blocks_are_weighed_in_the_order_they_run(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(weights_of(ANIMATE), path)
    checkpoint = open_checkpoint(path)
    sizes = model_bytes(checkpoint, inspect_checkpoint(checkpoint), "fp32")
    with torch.device("meta"):
        blocks = WanDiT(ANIMATE).streamed_blocks
    assert sizes.blocks == tuple(sum(4 * value.numel() for value in block.parameters()) for block in blocks)
    assert len(blocks) == 6 and sizes.total == 4 * sum(value.numel() for value in weights_of(ANIMATE).values())


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("face_adapter.", "has the poses of Wan-Animate but no layers that look at a face: it is incomplete"),
        ("motion_encoder.enc.fc.", "motion_encoder.enc.fc"),
        ("motion_encoder.dec.", "motion_encoder.dec.direction.weight"),
        ("pose_patch_embedding.bias", "lacks 1 of the"),
        ("face_encoder.out_proj.", "lacks 2 of the"),
    ],
)
def test_an_incomplete_file_is_refused(tmp_path: Path, gone: str, words: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({name: value for name, value in weights_of(ANIMATE).items() if not name.startswith(gone)}, path)
    with pytest.raises(CheckpointError, match=words):
        check_complete(inspect_checkpoint(open_checkpoint(path)))


def test_too_many_blocks_that_look_at_a_face_are_refused(tmp_path: Path) -> None:
    weights = weights_of(ANIMATE)
    again = {name.replace("fuser_blocks.0", "fuser_blocks.1"): value for name, value in weights.items()}
    path = tmp_path / "model.safetensors"
    save_file({name: value.clone() for name, value in {**again, **weights}.items()}, path)
    with pytest.raises(CheckpointError, match="has 2 blocks that look at a face for 5 blocks"):
        inspect_checkpoint(open_checkpoint(path))
