"""Every variant of Wan that people run is called what it is: run, run with a word about what is left out, or refused.

A header is made for each, with the names and shapes of its published files.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from wan_director.common.errors import CheckpointError
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.model_loading import kinds
from wan_director.model_loading.build import check_complete, load
from wan_director.model_loading.describe import describe
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint

from .conftest import random_weights, shapes_of

Shapes = dict[str, tuple[int, ...]]


class Variant(NamedTuple):
    """A variant: the preset whose tensors it has, changed sizes, tensors beside, metadata, name, and what is said.

    `says` is a part of the refusal, or, with `runs`, of the note; None for a model that runs without a word.
    """

    preset: str
    says: str | None
    runs: bool = False
    extra: Shapes = {}
    changes: dict[str, object] = {}
    name: str = "model"
    said: str | None = None
    words: dict[str, object] = {}


DIM = 5120
REF_CONV: Shapes = {"ref_conv.weight": (DIM, 16, 2, 2), "ref_conv.bias": (DIM,)}
CAMERA: Shapes = {
    "control_adapter.conv.weight": (DIM, 1536, 2, 2),
    "control_adapter.residual_blocks.0.conv1.weight": (DIM, DIM, 3, 3),
}
POSE: Shapes = {"patch_embedding_pose.weight": (DIM, 20, 1, 2, 2), "patch_embedding_pose.bias": (DIM,)}
MASK: Shapes = {"patch_embedding_mask.weight": (DIM, 28, 1, 2, 2), "patch_embedding_mask.bias": (DIM,)}
IGNORES = "it runs as plain {}, which ignores its {}."
TRACKS = IGNORES.format("I2V", "point tracks")
CAUSAL = "By its name this is a causal model, which makes a video chunk by chunk and remembers the ones before."
ANIMATE_2 = "By its name this is Wan-Animate-2, and it runs as that; nothing inside it tells."

TABLE: dict[str, Variant] = {
    "Wan 2.2 I2V A14B": Variant("i2v-A14B", None, name="wan2.2_i2v_high_noise_14B_fp8_scaled"),
    "Wan 2.2 T2V A14B": Variant("t2v-14B", None, name="wan2.2_t2v_low_noise_14B_fp8_scaled"),
    "FLF2V": Variant("flf2v-14B", None, name="wan2.1_flf2v_720p_14B_fp16"),
    "TI2V-5B": Variant("ti2v-5B", None, name="wan2.2_ti2v_5B_fp16"),
    "Animate-2": Variant("animate2-14B", None, said="animate2"),
    "Animate-2 by name": Variant("animate2-14B", ANIMATE_2, runs=True, name="wan_animate_2_int8_convrot"),
    "Animate-2 in its own repository": Variant("animate2-14B", ANIMATE_2, runs=True, name="Wan2.2-Animate-2-14B"),
    "Animate-2 of its name, plain by its header": Variant("i2v-14B", None, said="i2v", name="wan_animate_2_x"),
    "Animate-2 by the header of a text-to-video model": Variant(
        "t2v-14B", "is Wan-Animate-2 by its header, with tensors that none is known to have,", said="animate2"
    ),
    "SCAIL-2": Variant("scail2-14B", None, name="wan2.1_14B_SCAIL_2_fp16"),
    "SCAIL-2 by header": Variant("scail2-1.3B", None, said="scail2"),
    "SCAIL": Variant("scail-14B", None, said="scail"),
    "SCAIL without its poses": Variant(
        "i2v-14B", "is SCAIL without its embedding of poses (20 input", changes={"in_channels": 20}
    ),
    "SCAIL-2 without its poses": Variant(
        "i2v-14B", "is SCAIL without its embedding of poses (20 input", extra=MASK, changes={"in_channels": 20}
    ),
    "poses on image to video": Variant("i2v-14B", "a variant of SCAIL not known here (36 input", extra=POSE),
    "Bernini-R": Variant(
        "t2v-14B",
        "By its name this is Bernini-R, which takes a video to edit and references; without them it runs as plain T2V.",
        runs=True,
        name="wan2.2_bernini_r_high_noise_fp8_scaled",
    ),
    "Bernini-R by header": Variant(
        "t2v-14B", "header says that this is Bernini-R, which takes ", runs=True, said="bernini"
    ),
    "Animate": Variant("animate-14B", None, name="wan2.2_animate_14B_bf16"),
    "Animate by header": Variant("animate-14B", None, said="animate"),
    "Animate without its face": Variant(
        "i2v-14B",
        "has the poses of Wan-Animate but no layers",
        extra={"pose_patch_embedding.weight": (DIM, 16, 1, 2, 2)},
    ),
    "S2V": Variant("s2v-14B", None, name="wan2.2_s2v_14B_bf16", said="s2v"),
    "a part of S2V": Variant("t2v-14B", "lacks the tensor", extra={"casual_audio_encoder.weights": (1, 25, 1, 1)}),
    "a part of InfiniteTalk": Variant(
        "i2v-14B", "lacks the tensor", extra={"blocks.0.audio_cross_attn.proj.weight": (DIM, DIM)}
    ),
    "HuMo": Variant("humo-17B", None, name="humo_17B_fp8_e4m3fn", said="humo"),
    "HuMo 1.7B": Variant("humo-1.7B", None, name="humo_1.7B_fp16"),
    "a part of HuMo": Variant(
        "i2v-A14B", "lacks the tensor", extra={"audio_proj.audio_proj_glob_1.layer.weight": (512, 51200)}
    ),
    "Fun-Control 2.1": Variant("fun-control-1.3B", None, name="wan2.1_fun_control_1.3B_bf16"),
    "Fun-Control 2.1 14B": Variant("fun-control-14B", None),
    "Fun-Control 1.1": Variant("fun-control-1.1-1.3B", None, said="control"),
    "Fun-Control 1.1 14B": Variant("fun-control-1.1-14B", None),
    "Fun-Control A14B": Variant("fun-control-A14B", None, name="wan2.2_fun_control_high_noise_14B_fp8_scaled"),
    "Fun-Control 5B": Variant("fun-control-5B", None, name="wan2.2_fun_control_5B_bf16"),
    "a reference picture alone": Variant(
        "i2v-14B", "a variant of Wan with a reference picture that is not known here (36 input", extra=REF_CONV
    ),
    "Fun-InP 2.1": Variant("fun-inp-1.3B", None),
    "Fun-InP A14B": Variant("i2v-A14B", None, name="wan2.2_fun_inpaint_high_noise_14B_fp8_scaled"),
    "Lucy-Edit": Variant("lucy-edit-5B", None, name="lucy-edit-dev-cui-fp16"),
    "Fun-InP 5B": Variant("fun-inp-5B", None, name="wan2.2_fun_inpaint_5B_bf16"),
    "Fun-Camera 1.1": Variant("fun-camera-1.3B", None, name="wan2.1_fun_camera_v1.1_1.3B_bf16"),
    "Fun-Camera 1.1 14B": Variant("fun-camera-14B", None),
    "Fun-Camera A14B": Variant("fun-camera-A14B", None, name="wan2.2_fun_camera_high_noise_14B_fp8_scaled"),
    "Fun-Camera without its adapter": Variant(
        "i2v-14B", "is Wan Fun-Camera without its camera adapter (32", changes={"in_channels": 32}
    ),
    "a camera on text to video": Variant(
        "t2v-14B", "a variant of Wan Fun-Camera not known here (16 input", extra=CAMERA
    ),
    "Dancer": Variant("dancer-14B", None, name="wan2.2_dancer_14b_global_fp8_scaled", said="wandancer"),
    "Dancer without a reference": Variant("dancer-14B-without-reference", None),
    "a part of Dancer": Variant(
        "i2v-14B", "has the names of Wan-Dancer but not its structure", extra={"music_projection.weight": (256, 35)}
    ),
    "Dancer by header alone": Variant("i2v-14B", "is Wan-Dancer by its header, but nothing in it", said="wandancer"),
    "causal forcing": Variant("t2v-1.3B", CAUSAL, runs=True, name="causal_forcing-framewise"),
    "self-forcing": Variant("t2v-1.3B", CAUSAL, runs=True, name="self_forcing_dmd"),
    "krea-realtime": Variant("t2v-14B", CAUSAL, runs=True, name="krea-realtime-video-14b"),
    "causal, of image to video": Variant(
        "i2v-14B", "is by its name a causal model, of image to video", name="causal_forcing_i2v"
    ),
    "causal by header": Variant("t2v-14B", "header says that this is a causal model, which", runs=True, said="causal"),
    "causal by ComfyUI's word": Variant(
        "t2v-1.3B", "header says that this is a causal model, which", runs=True, said="t2v", words={"causal_ar": True}
    ),
    "CausVid": Variant("t2v-14B", "By its name this is CausVid; ", runs=True, name="Wan2_1-T2V-14B_CausVid_fp8_e4m3fn"),
    "ChronoEdit": Variant(
        "i2v-14B",
        "By its name this is ChronoEdit; " + IGNORES.format("I2V", "stretched time axis unless it edits a picture"),
        runs=True,
        name="chrono_edit_14B_fp16",
    ),
    "ATI": Variant("i2v-14B", "is ATI; " + TRACKS, runs=True, name="Wan2_1-I2V-ATI-14B_fp8_e4m3fn"),
    "Wan-Move": Variant("i2v-14B", "is Wan-Move; " + TRACKS, runs=True, name="Wan21-WanMove_fp8_scaled_e4m3fn_KJ"),
    "Phantom": Variant(
        "t2v-1.3B",
        "By its name this is Phantom, which takes pictures of up to four subjects; without them it runs as plain T2V.",
        runs=True,
        name="Phantom-Wan-1_3B_fp16",
    ),
    "MoCha": Variant("t2v-14B", "this is MoCha; ", runs=True, name="Wan2_1_mocha-14B-preview_fp16"),
    "EchoShot": Variant("t2v-1.3B", "this is EchoShot; ", runs=True, name="EchoShot-1.3B-preview"),
    "MAGREF": Variant("i2v-14B", "this is MAGREF; ", runs=True, name="Wan2_1-I2V-14B-MAGREF_fp8"),
    "SkyReels-V2 DF": Variant("t2v-1.3B", "is SkyReels-V2 DF,", extra={"fps_projection.0.weight": (8, 8)}),
    "SkyReels-V2 DF by name": Variant("t2v-14B", "is SkyReels-V2 DF; ", runs=True, name="SkyReels-V2-DF-14B-540P_fp16"),
    "SkyReels-V2": Variant("t2v-14B", None, name="Wan2_1-SkyReels-V2-T2V-14B-720P_fp16"),
    "SteadyDancer": Variant("i2v-14B", "SteadyDancer", extra={"condition_embedding_align.ffn_pose.0.weight": (8, 8)}),
    "Lynx": Variant("t2v-14B", "is Lynx,", extra={"blocks.0.cross_attn.ip_adapter.to_k_ip.weight": (8, 8)}),
    "ReCamMaster": Variant("t2v-1.3B", "is ReCamMaster,", extra={"blocks.0.cam_encoder.weight": (8, 12)}),
    "FastWan": Variant("t2v-1.3B", "is FastWan", extra={"blocks.0.to_gate_compress.weight": (8, 8)}),
    "FlashVSR": Variant("t2v-1.3B", "is FlashVSR,", extra={"LQ_proj_in.linear_layers.0.weight": (8, 8)}),
    "unknown channels": Variant("t2v-1.3B", "not known here (17 input", changes={"in_channels": 17}),
    "unknown by header": Variant("t2v-1.3B", "a variant of Wan not known here, 'warp9' by its header", said="Warp-9"),
    "S2V by header": Variant("t2v-14B", "by its header, but nothing in it hears speech", said="s2v"),
    "plain by header": Variant("t2v-14B", None, said="t2v"),
}


@cache
def shapes(preset: str, **changes: object) -> dict[str, tuple]:
    with torch.device("meta"):
        return shapes_of(WanDiT(replace(PRESETS[preset], **changes)).state_dict())


def header(header_file, variant: Variant) -> Path:
    entries = shapes(variant.preset, **variant.changes) | {key: ("BF16", size) for key, size in variant.extra.items()}
    said = {"model_type": variant.said, **variant.words}
    metadata = {"config": json.dumps({"transformer": said})} if variant.said else None
    return header_file(entries, metadata, f"{variant.name}.safetensors")


@pytest.mark.parametrize("title", TABLE)
def test_a_variant_is_called_what_it_is(header_file, title: str) -> None:
    variant = TABLE[title]
    checkpoint = open_checkpoint(header(header_file, variant))
    if variant.says is not None and not variant.runs:
        with pytest.raises(CheckpointError) as error:
            inspect_checkpoint(checkpoint)
        assert variant.says in str(error.value)
        assert "\n" not in str(error.value)
        return
    spec = inspect_checkpoint(checkpoint)
    check_complete(spec)
    assert (spec.preset, spec.config) == (variant.preset, PRESETS[variant.preset])
    if variant.says is None:
        assert spec.notes == ()
        assert "\nnote" not in describe(spec, checkpoint)
    else:
        (note,) = spec.notes
        assert variant.says in note
        assert note in describe(spec, checkpoint)


PARTS: dict[str, tuple[Shapes, str]] = {
    "InfiniteTalk": ({"blocks.0.audio_cross_attn.proj.weight": (DIM, DIM)}, "is a part of MultiTalk or InfiniteTalk"),
    "Lynx": ({"blocks.0.self_attn.ref_adapter.to_k_ref.weight": (DIM, DIM)}, "is a part of Lynx"),
    "Fantasy": ({"blocks.0.cross_attn.processor.k_proj.weight": (DIM, DIM)}, "is a part of FantasyTalking"),
}


@pytest.mark.parametrize("title", PARTS)
def test_a_part_of_wan_is_not_said_to_belong_elsewhere(header_file, title: str) -> None:
    entries, says = PARTS[title]
    with pytest.raises(CheckpointError) as error:
        inspect_checkpoint(open_checkpoint(header_file({key: ("F16", size) for key, size in entries.items()})))
    assert says in str(error.value)
    assert "does not belong to Wan" not in str(error.value)


@pytest.mark.parametrize("naming", ["official", "diffusers"])
def test_vace_on_an_image_model_is_named_not_called_incomplete(header_file, naming: str) -> None:
    """Its VACE blocks look at the text alone."""
    if naming == "official":
        entries = shapes("i2v-14B", branches=(ClipBranch(1280), VaceBranch(8)))
        pictures = ("k_img", "v_img")
    else:
        from diffusers import WanVACETransformer3DModel

        with torch.device("meta"):
            model = WanVACETransformer3DModel(
                num_layers=2, in_channels=36, image_dim=1280, added_kv_proj_dim=5120, vace_layers=[0], ffn_dim=64
            )
        entries, pictures = shapes_of(model.state_dict()), ("add_k_proj", "add_v_proj", "norm_added_k")
    kept = {
        key: value
        for key, value in entries.items()
        if not ("vace_blocks." in key and any(f".{word}." in key or f"{word}_img" in key for word in pictures))
    }
    kept.pop("vace_blocks.0.cross_attn.norm_k_img.weight", None)
    assert len(kept) < len(entries)
    with pytest.raises(CheckpointError, match="is VACE on an image-to-video model, which this version does not run"):
        inspect_checkpoint(open_checkpoint(header_file(kept)))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"_class_name": "WanTransformer3DModel"}, None),
        ({"_class_name": "WanAnimate2Transformer3DModel"}, None),
        ({"_class_name": "ChronoEditTransformer3DModel"}, "this is ChronoEdit; "),
        ({"_class_name": "CausalWanTransformer3DModel"}, "a causal model"),
        ({"_class_name": "WanModel", "model_type": "i2v"}, None),
        (
            {"_class_name": "WanModel_S2V"},
            "is Wan 2.2 S2V (speech to video) by its header, but nothing in it hears speech",
        ),
        ("{", None),
        ([1], None),
    ],
)
def test_the_settings_of_a_folder_say_what_its_model_is(header_file, tmp_path: Path, config: object, says) -> None:
    path = header_file(shapes("i2v-14B"), name="diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    for chosen in (path, tmp_path):
        try:
            found = " ".join(inspect_checkpoint(open_checkpoint(chosen)).notes)
        except CheckpointError as error:
            found = str(error)
        assert (says or "") in found
        assert bool(says) == bool(found)


def test_what_a_file_is_by_its_name_is_a_warning_while_it_loads(tmp_path: Path, caplog) -> None:
    config = DiTConfig(dim=128, ffn_dim=64, heads=1, layers=1)
    with torch.device("meta"):
        module = WanDiT(config)
    path = tmp_path / "my_phantom.safetensors"
    save_file(random_weights(module), path)
    with caplog.at_level(logging.WARNING, "wan_director"):
        load(kinds.DIT, path, device="cpu")
    (record,) = caplog.records
    assert record.getMessage().startswith("my_phantom.safetensors: By its name this is Phantom, which takes pictures")


def test_another_name_is_enough_where_the_name_was_wrong(header_file) -> None:
    path = header_file(shapes("i2v-14B"), name="my_causal_tests.safetensors")
    with pytest.raises(CheckpointError, match="If it is a plain I2V model, give the file another name"):
        inspect_checkpoint(open_checkpoint(path))
    assert inspect_checkpoint(open_checkpoint(path.rename(path.with_name("mine.safetensors")))).notes == ()


KIN = {
    "OFT": ("diffusion_model.blocks.0.self_attn.q.oft_R.weight",),
    "OFT or BOFT": ("lycoris_blocks_0_self_attn_q.oft_blocks",),
    "BOFT": ("base_model.model.blocks.0.self_attn.q.boft_R",),
    "GLoRA": tuple(f"diffusion_model.blocks.0.self_attn.q.{part}.weight" for part in ("a1", "a2", "b1", "b2")),
    "(IA)\N{SUPERSCRIPT THREE}": ("base_model.model.blocks.0.self_attn.k.ia3_l",),
    "VeRA": ("base_model.model.blocks.0.self_attn.k.vera_lambda_b",),
}


@pytest.mark.parametrize("title", KIN)
def test_the_kin_of_a_lora_is_sent_to_the_loras(header_file, title: str) -> None:
    path = header_file(dict.fromkeys(KIN[title], ("F16", (4, 4))))
    with pytest.raises(CheckpointError) as error:
        inspect_checkpoint(open_checkpoint(path))
    assert f"is a {title} adapter (kin of a LoRA), an addition to a model and not a model itself" in str(error.value)
