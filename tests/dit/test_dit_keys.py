"""Names and sizes of the published checkpoints, without their weights."""

from __future__ import annotations

import pytest
import torch
from wan_director.dit.branches.animate.face import FaceBranch
from wan_director.dit.branches.animate.pose import AnimatePoseBranch
from wan_director.dit.branches.audio.dance import DanceBranch
from wan_director.dit.branches.camera import CameraBranch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.reference import ReferenceBranch
from wan_director.dit.branches.scail import ScailBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS

COUNTS = {
    "t2v-1.3B": (825, 1_418_996_800),
    "t2v-14B": (1095, 14_288_491_584),
    "i2v-14B": (1303, 16_394_878_784),
    "flf2v-14B": (1304, 16_394_878_784 + 514 * 1280),
    "i2v-A14B": (1095, 14_288_901_184),
    "animate2-14B": (1303, 16_394_878_784),
    "ti2v-5B": (825, 4_999_787_712),
    "lucy-edit-5B": (825, 4_999_787_712 + 48 * 4 * 3072),
    "fun-inp-1.3B": (983, 1_564_428_608),
    # With more patch channels than the base, 4 numbers each and token width; then those of the reference picture
    # and of the camera's convolutions.
    "fun-inp-5B": (825, 4_999_787_712 + 52 * 4 * 3072),
    "fun-control-1.3B": (983, 1_564_428_608 + 12 * 4 * 1536),
    "fun-control-14B": (1303, 16_394_878_784 + 12 * 4 * 5120),
    "fun-control-1.1-1.3B": (985, 1_564_428_608 + 12 * 4 * 1536 + (16 * 4 + 1) * 1536),
    "fun-control-1.1-14B": (1305, 16_394_878_784 + 12 * 4 * 5120 + (16 * 4 + 1) * 5120),
    "fun-control-A14B": (1097, 14_288_491_584 + 36 * 4 * 5120 + (16 * 4 + 1) * 5120),
    "fun-control-5B": (827, 4_999_787_712 + 100 * 4 * 3072 + (48 * 4 + 1) * 3072),
    "fun-camera-1.3B": (989, 1_564_428_608 - 4 * 4 * 1536 + (1536 * 4 + 1 + 2 * (9 * 1536 + 1)) * 1536),
    "fun-camera-14B": (1309, 16_394_878_784 - 4 * 4 * 5120 + (1536 * 4 + 1 + 2 * (9 * 5120 + 1)) * 5120),
    "fun-camera-A14B": (1101, 14_288_901_184 + (1536 * 4 + 1 + 2 * (9 * 5120 + 1)) * 5120),
    # Without the 14 constant kernels of its blurs.
    "animate-14B": (1427, 17_274_816_884),
    "scail-14B": (1305, 16_394_878_784 - 16 * 4 * 5120 + (20 * 4 + 1) * 5120),
    "scail2-1.3B": (987, 1_564_428_608 - 16 * 4 * 1536 + (20 * 4 + 1 + 28 * 4 + 1) * 1536),
    "scail2-14B": (1307, 16_394_878_784 - 16 * 4 * 5120 + (20 * 4 + 1 + 28 * 4 + 1) * 5120),
    "s2v-14B": (1260, 16_295_755_609),
    # As ComfyUI's own class of these sizes has them.
    "humo-1.7B": (1193, 1_741_569_088),
    "humo-17B": (1583, 17_055_925_312),
    "dancer-14B": (1424, 17_245_198_464),
    "dancer-14B-without-reference": (1422, 17_244_865_664),
    "vace-1.3B": (1264, 2_153_972_032),
    "vace-14B": (1331, 17_337_592_896),
}

BLOCK_KEYS = {
    "modulation",
    *(
        f"{part}.{layer}.{kind}"
        for part in ("self_attn", "cross_attn")
        for layer in "qkvo"
        for kind in ("weight", "bias")
    ),
    *(f"{part}.{norm}.weight" for part in ("self_attn", "cross_attn") for norm in ("norm_q", "norm_k")),
    *(f"{layer}.{kind}" for layer in ("norm3", "ffn.0", "ffn.2") for kind in ("weight", "bias")),
}
CLIP_BLOCK_KEYS = {f"cross_attn.{layer}.{kind}" for layer in ("k_img", "v_img") for kind in ("weight", "bias")} | {
    "cross_attn.norm_k_img.weight"
}
TOP_KEYS = {"head.modulation"} | {
    f"{layer}.{kind}"
    for layer in (
        "patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2",
        "time_projection.1", "head.head",
    )
    for kind in ("weight", "bias")
}  # fmt: skip
CLIP_TOP_KEYS = {f"img_emb.proj.{layer}.{kind}" for layer in (0, 1, 3, 4) for kind in ("weight", "bias")}
CAMERA_LAYERS = (
    "control_adapter.conv", "control_adapter.residual_blocks.0.conv1", "control_adapter.residual_blocks.0.conv2",
)  # fmt: skip
_CONVS = "motion_encoder.enc.net_app.convs."
FACE_KEYS = {
    *(f"{_CONVS}{name}" for name in ("0.0.weight", "0.1.bias", "8.weight")),
    *(
        f"{_CONVS}{block}.{name}"
        for block in range(1, 8)
        for name in ("conv1.0.weight", "conv1.1.bias", "conv2.1.weight", "conv2.2.bias", "skip.1.weight")
    ),
    *(f"motion_encoder.enc.fc.{layer}.{kind}" for layer in range(5) for kind in ("weight", "bias")),
    "motion_encoder.dec.direction.weight",
    *(
        f"face_encoder.{layer}.{kind}"
        for layer in ("conv1_local.conv", "conv2.conv", "conv3.conv", "out_proj")
        for kind in ("weight", "bias")
    ),
    "face_encoder.padding_tokens",
    *(
        f"face_adapter.fuser_blocks.{block}.{name}"
        for block in range(8)
        for name in (
            "linear1_kv.weight", "linear1_kv.bias", "linear1_q.weight", "linear1_q.bias", "linear2.weight",
            "linear2.bias", "q_norm.weight", "k_norm.weight",
        )
    ),
}  # fmt: skip


def build(preset: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return WanDiT(PRESETS[preset]).state_dict()


@pytest.mark.parametrize("preset", PRESETS)
def test_key_and_parameter_counts_of_the_published_models(preset):
    state = build(preset)
    assert (len(state), sum(tensor.numel() for tensor in state.values())) == COUNTS[preset]


HEARING = (
    "audio_proj.", *(f"blocks.{index}.audio_cross_attn_wrapper." for index in range(40)),
    *(f"{root}." for root in (*DanceBranch.roots, "ref_conv")),
)  # fmt: skip


@pytest.mark.parametrize("preset", [each for each in PRESETS if each != "s2v-14B"])  # see test_s2v_files.py
def test_names_are_those_of_the_official_checkpoints(preset):
    config = PRESETS[preset]
    block_keys, expected = set(BLOCK_KEYS), set(TOP_KEYS)
    clip, vace = config.branch(ClipBranch), config.branch(VaceBranch)
    if clip is not None:
        block_keys |= CLIP_BLOCK_KEYS
        expected |= CLIP_TOP_KEYS
    if clip is not None and clip.positions is not None:
        expected.add("img_emb.emb_pos")
    expected |= {f"blocks.{index}.{key}" for index in range(config.layers) for key in block_keys}
    if vace is not None:
        vace_keys = block_keys | {"after_proj.weight", "after_proj.bias"}
        expected |= {f"vace_blocks.{index}.{key}" for index in range(vace.blocks) for key in vace_keys}
        expected |= {f"vace_blocks.0.before_proj.{kind}" for kind in ("weight", "bias")}
        expected |= {f"vace_patch_embedding.{kind}" for kind in ("weight", "bias")}
    if config.branch(FaceBranch) is not None:
        expected |= FACE_KEYS
    others = {
        ReferenceBranch: ("ref_conv",),
        CameraBranch: CAMERA_LAYERS,
        ScailBranch: ("patch_embedding_pose",),
        AnimatePoseBranch: ("pose_patch_embedding",),
    }
    layers = [layer for branch in config.branches for layer in others.get(type(branch), ())]
    layers += ["patch_embedding_mask"] if preset.startswith("scail2") else []
    expected |= {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    found = set(build(preset))
    if preset.startswith(("humo", "dancer")):  # the layers that hear: see test_humo.py and test_dancer.py
        found = {key for key in found if not key.startswith(HEARING)}
    assert found == expected


def test_shapes_of_the_largest_model():
    shapes = {name: tuple(tensor.shape) for name, tensor in build("flf2v-14B").items()}
    assert shapes["patch_embedding.weight"] == (5120, 36, 1, 2, 2)
    assert shapes["time_embedding.0.weight"] == (5120, 256)
    assert shapes["time_projection.1.weight"] == (6 * 5120, 5120)
    assert shapes["blocks.39.modulation"] == (1, 6, 5120)
    assert shapes["blocks.39.ffn.0.weight"] == (13824, 5120)
    assert shapes["img_emb.emb_pos"] == (1, 514, 1280)
    assert shapes["img_emb.proj.3.weight"] == (5120, 1280)
    assert shapes["head.modulation"] == (1, 2, 5120)
    assert shapes["head.head.weight"] == (64, 5120)


def test_published_models_have_heads_of_128():
    assert {config.head_dim for config in PRESETS.values()} == {128}
