"""The Wan models that people ran in autumn 2026: each is called what it is, and is run or refused.

`ROWS` has them in the order of usage. A file is written for each with the names and shapes of the published one, which
are those of the official classes (fixtures/structures) and of ComfyUI's (fixtures/variants, see make_variants.py). When
a model begins to run its row changes: "refused" becomes "runs", with what its title or its note then says.
"""

from __future__ import annotations

import json
import runpy
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
import torch
from wan_director.common.errors import CheckpointError
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.model_loading.build import check_complete
from wan_director.model_loading.describe import describe
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.publishing.known_files import known_file
from wan_director.model_loading.recognition.detect import inspect_checkpoint

from .conftest import shapes_of

FIXTURES = Path(__file__).parent / "fixtures"
UNFOLD = runpy.run_path(str(FIXTURES / "make_structures.py"))["unfold"]

Entries = dict[str, tuple[str, tuple[int, ...]]]
Fate = Literal["runs", "refused", "part", "LoRA"]


class Row(NamedTuple):
    """One file of a model.

    `file`: its name; `like`: the structure or preset whose tensors it has; `title`: a part of what it is called;
    `said`: what its header says; `beside`: tensors beside; `without`: starts of names that are not there.
    """

    file: str
    like: str
    fate: Fate
    title: str
    said: str | None = None
    beside: dict[str, tuple[int, ...]] = {}
    without: tuple[str, ...] = ()


REF_CONV = {"ref_conv.weight": (5120, 16, 2, 2), "ref_conv.bias": (5120,)}
CAUSAL = "this is a causal model, which makes a video chunk by chunk"
IMAGES = {"img_emb.proj.1.weight": (1280, 1280)}
LYNX = {f"blocks.0.cross_attn.ip_adapter.{name}.weight": (5120, 2048) for name in ("to_k_ip", "to_v_ip")}
STEADY = {"condition_embedding_align.ffn_pose.0.weight": (8, 8), "patch_embedding_fuse.weight": (5120, 68, 1, 2, 2)}
VISTA = {"blocks.0.cam_encoder.weight": (5120, 6), "latent_encoder.mask.weight": (5120, 512, 1, 2, 2)}
OVI = {f"blocks.0.cross_attn.{name}.weight": (3072, 3072) for name in ("k_fusion", "v_fusion")}
POSE_LORA = {"dwpose_embedding.0.weight": (64, 3, 3, 3, 3), "blocks.0.self_attn.q.lora_A.default.weight": (128, 5120)}
FANTASY = {f"processor.blocks.0.cross_attn.processor.{name}.weight": (5120, 2048) for name in ("k_proj", "v_proj")}
STAND_IN = {f"blocks.0.self_attn.{name}_loras.{way}.weight": (128, 5120) for name in "qkv" for way in ("down", "up")}
PORTRAIT = {"ip_adapter.blocks.0.cross_attn.ip_adapter_single_stream_k_proj.weight": (5120, 2048)}

ROWS: dict[str, tuple[Row, ...]] = {
    "Wan 2.2 I2V A14B": tuple(
        Row(f"wan2.2_i2v_{noise}_noise_14B_fp8_scaled", "i2v-a14B", "runs", "Wan 2.2 I2V A14B")
        for noise in ("high", "low")
    ),
    "Wan-Animate-2": (
        Row("wan_animate_2_int8_convrot", "animate-2-14B", "runs", "Wan-Animate-2 14B", "animate2"),
        Row("wan_animate_2_distill_int8_convrot", "animate-2-14B", "runs", "Wan-Animate-2 14B", "animate2"),
        Row("wan_animate_2_bf16", "animate-2-14B", "runs", "this is Wan-Animate-2, and it runs as that"),
    ),
    "SCAIL-2": (
        Row("wan2.1_14B_SCAIL_2_int8_convrot", "scail-2-14B", "runs", "Wan 2.1 SCAIL-2 14B"),
        Row("wan2.1_SCAIL_2_1.3B", "scail-2-1.3B", "runs", "Wan 2.1 SCAIL-2 1.3B"),
    ),
    "SCAIL": (Row("wan2.1_scail_preview_14B", "scail-14B", "runs", "Wan 2.1 SCAIL 14B"),),
    "FLF2V": (
        Row("wan2.2_i2v_high_noise_14B_fp8_scaled", "i2v-a14B", "runs", "Wan 2.2 I2V A14B"),
        Row("wan2.1_flf2v_720p_14B_fp16", "flf2v-14B", "runs", "Wan 2.1 FLF2V 14B"),
    ),
    "Wan 2.2 T2V A14B": (Row("wan2.2_t2v_high_noise_14B_fp8_scaled", "t2v-14B", "runs", "Wan 2.2 T2V A14B"),),
    "Bernini-R": (
        Row("wan2.2_bernini_r_high_noise_fp8_scaled", "t2v-14B", "runs", "this is Bernini-R, which takes"),
        Row("bernini_r_1.3B", "t2v-1.3B", "runs", "this is Bernini-R, which takes"),
        Row("model", "t2v-14B", "runs", "header says that this is Bernini-R", "bernini"),
    ),
    "TI2V-5B": (Row("wan2.2_ti2v_5B_fp16", "ti2v-5B", "runs", "Wan 2.2 TI2V 5B"),),
    "VACE": (
        Row("wan2.1_vace_14B_fp16", "vace-14B", "runs", "Wan 2.1 VACE 14B"),
        Row("wan2.1_vace_1.3B_fp16", "vace-1.3B", "runs", "Wan 2.1 VACE 1.3B"),
        Row("Wan2_1-VACE_module_14B_bf16", "vace-module-14B", "runs", "VACE module 14B"),
    ),
    "Wan 2.1": (
        Row("wan2.1_t2v_1.3B_fp16", "t2v-1.3B", "runs", "Wan 2.1 T2V 1.3B"),
        Row("wan2.1_i2v_480p_14B_fp16", "i2v-14B", "runs", "Wan 2.1 I2V 14B"),
    ),
    "S2V": (Row("wan2.2_s2v_14B_fp8_scaled", "s2v-14B", "runs", "Wan 2.2 S2V 14B"),),
    "InfiniteTalk": (
        Row("wan2.1_infiniteTalk_multi_fp16", "infinitetalk", "runs", "the InfiniteTalk module 14B"),
        Row("wan2.1_infiniteTalk_single_fp16", "infinitetalk", "runs", "the InfiniteTalk module 14B"),
    ),
    "HuMo": (
        Row("humo_17B_fp8_e4m3fn", "humo-17B", "runs", "HuMo 17B"),
        Row("humo_1.7B_fp16", "humo-1.7B", "runs", "HuMo 1.7B"),
    ),
    "Wan-Animate": (Row("wan2.2_animate_14B_bf16", "animate-14B", "runs", "Wan 2.2 Animate 14B"),),
    "Fun-Control": (
        Row("wan2.1_fun_control_1.3B_bf16", "fun-control-1.3B", "runs", "Wan 2.1 Fun-Control 1.3B"),
        Row("fun_control_1.1", "fun-control-1.1-1.3B", "runs", "Wan 2.1 Fun-Control 1.1 1.3B"),
        Row("wan2.2_fun_control_high_noise_14B_fp8_scaled", "fun-control-a14B", "runs", "Wan 2.2 Fun-Control A14B"),
        Row("wan2.2_fun_control_5B_bf16", "fun-control-5B", "runs", "Wan 2.2 Fun-Control 5B"),
    ),
    "Fun-InP": (
        Row("wan2.1_fun_inp_1.3B_bf16", "fun-inp-1.3B", "runs", "Wan 2.1 Fun-InP 1.3B"),
        Row("wan2.2_fun_inpaint_high_noise_14B_fp8_scaled", "i2v-a14B", "runs", "Wan 2.2 I2V A14B"),
        Row("wan2.2_fun_inpaint_5B_bf16", "fun-inp-5B", "runs", "Wan 2.2 Fun-InP 5B"),
    ),
    "Fun-Camera": (
        Row("wan2.1_fun_camera_v1.1_1.3B_bf16", "fun-camera-1.1-1.3B", "runs", "Wan 2.1 Fun-Camera 1.1 1.3B"),
        Row("wan2.1_fun_camera_v1.1_14B_bf16", "fun-camera-1.1-14B", "runs", "Wan 2.1 Fun-Camera 1.1 14B"),
        Row("wan2.2_fun_camera_high_noise_14B_fp8_scaled", "fun-camera-a14B", "runs", "Wan 2.2 Fun-Camera A14B"),
    ),
    "Wan-Dancer": (
        Row("wan2.2_dancer_14b_global_fp8_scaled", "dancer-14B", "runs", "Wan-Dancer 14B"),
        Row("wan2.2_dancer_14b_local_fp8_scaled", "dancer-14B", "runs", "Wan-Dancer 14B", beside=REF_CONV),
    ),
    "causal models": (
        Row("causal_forcing-framewise", "t2v-1.3B", "runs", CAUSAL),
        Row("self_forcing_dmd", "t2v-1.3B", "runs", CAUSAL),
        Row("krea-realtime-video-14b", "t2v-14B", "runs", CAUSAL),
    ),
    "ChronoEdit": (Row("chrono_edit_14B_fp16", "i2v-14B", "runs", "this is ChronoEdit"),),
    "ATI": (Row("Wan2_1-I2V-ATI-14B_fp8_e4m3fn", "i2v-14B", "runs", "this is ATI"),),
    "Wan-Move": (Row("Wan21-WanMove_fp8_scaled_e4m3fn_KJ", "i2v-14B", "runs", "this is Wan-Move"),),
    "Phantom": (
        Row("Phantom-Wan-1_3B_fp16", "t2v-1.3B", "runs", "this is Phantom"),
        Row("Phantom-Wan-14B_fp8_e4m3fn", "t2v-14B", "runs", "this is Phantom"),
    ),
    "MoCha": (Row("Wan2_1_mocha-14B-preview_fp8_e4m3fn_scaled_KJ", "t2v-14B", "runs", "this is MoCha"),),
    "Stand-In": (Row("Stand-In_wan2.1_T2V_14B_ver1.0_bf16", "nothing", "part", "Stand-In", beside=STAND_IN),),
    "Lynx": (
        Row("wan2.1_lynx_14B", "t2v-14B", "refused", "is Lynx,", beside=LYNX),
        Row("Wan2_1-T2V-14B-Lynx_full_ip_layers_fp16", "nothing", "part", "Lynx", beside=LYNX),
    ),
    "FantasyTalking": (Row("fantasytalking_fp16", "nothing", "part", "FantasyTalking", beside=FANTASY),),
    "FantasyPortrait": (Row("fantasyportrait_fp16", "nothing", "part", "FantasyPortrait", beside=PORTRAIT),),
    "SteadyDancer": (Row("wan2.1_steadydancer_14B", "i2v-14B", "refused", "is SteadyDancer,", beside=STEADY),),
    "Vista4D": (Row("wan2.1_vista4d_384p49_14B_bf16", "t2v-14B", "refused", "is Vista4D,", beside=VISTA),),
    "ShotPlan": (
        Row("shotplan_14B", "t2v-14B", "refused", "is ShotPlan,", beside={"hardcut_embedding": (1, 1, 5120)}),
    ),
    "Lucy-Edit": (Row("lucy-edit-dev-cui-fp16", "lucy-edit-5B", "runs", "Lucy-Edit 5B"),),
    "Kiwi-Edit": (Row("wan2.2_kiwi_edit_5B_mbf16", "ti2v-5B", "runs", "this is Kiwi-Edit"),),
    "Ditto": (Row("ditto_global_style_comfy", "vace-module-14B", "runs", "VACE module 14B"),),
    "EchoShot": (Row("EchoShot-1.3B-preview", "t2v-1.3B", "runs", "this is EchoShot"),),
    "UniAnimate": (Row("UniAnimate-Wan2.1-14B-Lora-12000", "nothing", "LoRA", "a LoRA", beside=POSE_LORA),),
    "MTV-Crafter": (
        Row("mtv", "i2v-14B", "refused", "is MTV-Crafter,", beside={"blocks.0.motion_attn.k.weight": (5120, 5120)}),
    ),
    "Ovi": (Row("wan2.2_ovi1_1_video_10B_bf16", "ti2v-5B", "refused", "is Ovi", beside=OVI),),
    "LongCat": (
        Row("LongCat_TI2V_comfy_bf16", "longcat", "part", "LongCat-Video"),
        Row(
            "longcat_avatar", "longcat", "part", "LongCat-Avatar",
            beside={"blocks.0.audio_cross_attn.q_linear.weight": (4096, 4096)},
        ),
    ),
    "VACE on an I2V model": (
        Row("id-v2v", "vace-14B", "refused", "VACE on an image-to-video", beside=IMAGES),
    ),
    "Uni3C": (Row("Wan21_Uni3C_controlnet_fp16", "uni3c", "runs", "Uni3C"),),
    "Wan-Alpha": (
        Row("wan_alpha_2.1_vae_rgb_channel", "vae-2.1", "runs", "the Wan 2.1 VAE"),
        Row("wan_alpha_2.1_vae_alpha_channel", "vae-2.1", "runs", "the Wan 2.1 VAE"),
        Row("wan_alpha_2.1_rgba_lora", "lora-lightx2v-t2v-14B", "LoRA", "a LoRA"),
    ),
    "SVI 2 Pro": (
        Row("SVI_v2_PRO_Wan2.2-I2V-A14B_HIGH_lora_rank_128_fp16", "lora-lightx2v-a14B", "LoRA", "a LoRA"),
    ),
    "VAE of 12 channels": (
        Row("Wan2.1_VAE_upscale2x_imageonly_real_v1", "vae-2x", "runs", "VAE for pictures of twice the size"),
    ),
}  # fmt: skip

LONGCAT = {
    "x_embedder.proj.weight": (4096, 16, 1, 2, 2), "t_embedder.mlp.0.weight": (512, 256),
    "y_embedder.y_proj.0.weight": (4096, 4096), "blocks.0.attn.qkv.weight": (12288, 4096),
    "blocks.0.cross_attn.kv_linear.weight": (8192, 4096), "blocks.0.ffn.w1.weight": (11008, 4096),
    "final_layer.linear.weight": (64, 4096),
}  # fmt: skip


@cache
def tensors(like: str) -> Entries:
    """Those of a structure, of a preset, or of a model that only this table knows."""
    if like in ("nothing", "longcat"):
        return {key: ("BF16", shape) for key, shape in (LONGCAT if like == "longcat" else {}).items()}
    if like == "vae-2x":
        twelve = {"decoder.head.2.weight": ("F32", (12, 96, 3, 3, 3)), "decoder.head.2.bias": ("F32", (12,))}
        return tensors("vae-2.1") | twelve
    for folder in ("structures", "variants"):
        path = FIXTURES / folder / f"{like}.txt"
        if path.is_file():
            lines = (line.split() for line in path.read_text("utf-8").splitlines())
            sizes = {key: shape for pattern, shape in lines for key in UNFOLD(pattern)}
            return {
                key: ("BF16", tuple(map(int, shape.split("x"))) if shape != "-" else ()) for key, shape in sizes.items()
            }
    with torch.device("meta"):
        return shapes_of(WanDiT(PRESETS[like]).state_dict())


def written(header_file, row: Row) -> Path:
    entries = {key: entry for key, entry in tensors(row.like).items() if not key.startswith(row.without or "\n")}
    entries |= {key: ("BF16", shape) for key, shape in row.beside.items()}
    metadata = {"config": json.dumps({"transformer": {"model_type": row.said}})} if row.said else None
    return header_file(entries, metadata, f"{row.file}.safetensors")


CASES = {f"{model}: {row.file}, {row.said or row.like}": row for model, rows in ROWS.items() for row in rows}


@pytest.mark.parametrize("case", CASES)
def test_every_model_of_autumn_2026_is_called_what_it_is(header_file, case: str) -> None:
    row = CASES[case]
    checkpoint = open_checkpoint(written(header_file, row))
    if row.fate == "runs":
        spec = inspect_checkpoint(checkpoint)
        check_complete(spec)
        assert any(row.title in words for words in (spec.title, *spec.notes))
        assert row.title in describe(spec, checkpoint)
        return
    with pytest.raises(CheckpointError) as error:
        inspect_checkpoint(checkpoint)
    message = str(error.value)
    assert row.title in message
    assert "\n" not in message and "incomplete" not in message and "is no Wan model" not in message
    if row.fate == "part":
        assert "not a whole model" in message or "does not belong to Wan" in message


def test_the_usual_files_are_known_to_the_download() -> None:
    for model in ("Wan 2.2 I2V A14B", "Wan 2.2 T2V A14B", "TI2V-5B", "VACE", "Fun-Control", "Wan-Alpha", "ChronoEdit"):
        assert any(known_file(f"{row.file}.safetensors") for row in ROWS[model]), model
