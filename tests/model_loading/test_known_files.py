"""The published files, and what is said of one that is missing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from wan_director.common.errors import PairingError
from wan_director.common.families import WAN_2_2_5B
from wan_director.dit.branches.audio.talk import TalkBranch
from wan_director.dit.branches.scail import ScailBranch
from wan_director.dit.presets import INFINITETALK_14B
from wan_director.model_loading.kinds import DIT, INFINITETALK_MODULE, MODEL_KINDS, UNI3C_MODULE, VACE_MODULE
from wan_director.model_loading.outline import outline
from wan_director.model_loading.publishing.known_files import (
    KNOWN_FILES,
    LORAS,
    known_file,
    named_files,
)
from wan_director.model_loading.publishing.missing import download_command, missing_file_sentence
from wan_director.model_loading.publishing.published import published_outline
from wan_director.model_loading.spec import AnyKind

FEW_STEPS = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
VAE = known_file("wan_2.1_vae.safetensors")


OF_WRAPPER = (("lightx2v", "Lightx2v/"), ("SVI_v2_PRO", "LoRAs/Stable-Video-Infinity/v2.0/"))
"""Where files of these names lie in the repository of WanVideoWrapper's author."""


def test_known_files_are_consistent() -> None:
    assert len({file.name.lower() for file in KNOWN_FILES}) == len(KNOWN_FILES)
    for file in KNOWN_FILES:
        folders = {
            "Kijai/WanVideo_comfy": next((of[1] for of in OF_WRAPPER if file.name.startswith(of[0])), ""),
            "Kijai/WanVideo_comfy_fp8_scaled": "WanMove/" if "WanMove" in file.name else "I2V/",
            "lightx2v/Autoencoders": "",
            "decart-ai/Lucy-Edit-Dev-ComfyUI": "",
            "Kijai/wav2vec2_safetensors": "",
            "spacepxl/Wan2.1-VAE-upscale2x": "",
            "Comfy-Org/Bernini-R": "diffusion_models/",
            "Comfy-Org/SCAIL-2": f"{Path(file.folder).name}/",
            "Comfy-Org/Wan-Animate-2": "diffusion_models/",
            "Comfy-Org/Wan-Dancer": "diffusion_models/",
        }
        folder = folders.get(file.repo, f"split_files/{Path(file.folder).name}/")
        assert file.path_in_repo == folder + file.name
        assert file.kind is LORAS or file.folder == MODEL_KINDS[file.kind.name].folder
    for kind in (each for each in MODEL_KINDS.values() if each.name != "speed_module"):  # which is on ModelScope
        assert known_file(kind.where_to_get.split()[0]).kind == kind.files
    assert known_file("sub\\folder/wan_2.1_vae.safetensors") is VAE
    assert known_file("mine.safetensors") is None


def test_sizes_of_known_files_follow_from_their_shapes() -> None:
    parameters = {
        "wan2.2_t2v": 14.2885, "wan2.2_i2v": 14.2889, "ti2v_5B": 4.9998, "wan2.2_vae": 0.70469,
        "vace_1.3B": 2.1540, "vace_14B": 17.3376, "module_1_3B": 0.7350, "module_14B": 3.0491,
        "t2v_1.3B": 1.4190, "t2v_14B": 14.2885, "i2v": 16.3949, "vae": 0.12689, "umt5": 5.681, "clip": 0.6321,
    }  # fmt: skip
    for file in KNOWN_FILES:
        if "fp8" in file.name or file.kind is LORAS or not file.size_bytes:
            continue
        size = next((count * 2e9 for part, count in parameters.items() if part in file.name), None)
        assert size is None or file.size_bytes == pytest.approx(size, rel=2e-3)
    fp8 = {
        "wan2.1_t2v_14B_fp8_scaled.safetensors": 14.2885e9,
        "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors": 14.2885e9,
        "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors": 14.2889e9,
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors": 5.681e9 + 1.0505e9,
    }
    assert {name: known_file(name).size_bytes for name in fp8} == pytest.approx(fp8, rel=2e-3)
    block = 8 * (5120 + 5120) + 2 * (5120 + 13824)  # each matrix has a pair of rank 64
    for noise in ("high", "low"):  # these in 32 bit
        pair = known_file(f"wan2.2_i2v_lightx2v_4steps_lora_v1_{noise}_noise.safetensors")
        assert pair.size_bytes == pytest.approx(40 * block * 64 * 4, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("umt5_xxl_fp16", "umt5_xxl_fp16.safetensors"),
        ("WAN_2.1_VAE", "wan_2.1_vae.safetensors"),
        (" clip_vision_h.safetensors ", "clip_vision_h.safetensors"),
        ("vae\\wan2.2_vae.safetensors", "wan2.2_vae.safetensors"),
        ("wan2.2_i2v_high_noise_14B_fp8_scaled", "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors"),
        ("wan2.1_vae", "wan_2.1_vae.safetensors"),
        ("umt5-xxl-fp16", "umt5_xxl_fp16.safetensors"),
    ],
)
def test_files_are_found_by_the_names_that_people_use(name: str, found: str) -> None:
    assert found in [file.name for file in named_files(name)]
    assert named_files("") == named_files("something else") == []


def test_a_missing_known_file_tells_where_to_get_it_and_where_to_put_it(tmp_path: Path) -> None:
    assert missing_file_sentence(VAE.name, "vae", [tmp_path]) == (
        "wan_2.1_vae.safetensors (the VAE of Wan 2.1 and of Wan 2.2 14B, 254 MB) is missing. Get "
        "split_files/vae/wan_2.1_vae.safetensors from Comfy-Org/Wan_2.1_ComfyUI_repackaged on the Hugging Face Hub and "
        f"put it into {tmp_path}, or run: wan-director download wan_2.1_vae.safetensors --to {tmp_path}"
    )
    assert missing_file_sentence(VAE.name, "vae").endswith(
        "put it into models/vae, or run: wan-director download wan_2.1_vae.safetensors"
    )


def test_a_missing_unknown_file_tells_the_usual_ones(tmp_path: Path) -> None:
    sentence = missing_file_sentence("mine.safetensors", "vae", [tmp_path])
    assert re.search(r"mine.safetensors is not in .* the usual ones are wan_2.1_vae", sentence)


def test_a_missing_file_names_a_few_that_are_there_the_likely_ones_first() -> None:
    present = [f"{number}.safetensors" for number in range(20)] + ["wan_t2v_fp8.safetensors"]
    folders = ["models/diffusion_models"]
    sentence = missing_file_sentence("wan_t2v_fp16.safetensors", "diffusion_models", folders, present)
    assert sentence == (
        "wan_t2v_fp16.safetensors is not in models/diffusion_models. Put it there, or choose another: "
        "wan_t2v_fp8.safetensors, 0.safetensors, 1.safetensors, 2.safetensors, 3.safetensors and 16 more."
    )


def test_a_file_of_that_name_in_another_subfolder_is_mentioned() -> None:
    for name in (VAE.name, "Wan\\WAN_2.1_vae.safetensors"):
        sentence = missing_file_sentence(name, "vae", ["models/vae"], ["sub/wan_2.1_vae.safetensors"])
        assert sentence.endswith(
            " is not in models/vae, but sub/wan_2.1_vae.safetensors is: choose that, or move the file."
        )


def test_names_and_folders_in_sentences_are_harmless() -> None:
    assert "\x1b" not in missing_file_sentence("\x1b[2J.safetensors", "vae", [], ["\x1b]0;x.safetensors"])
    command = download_command(VAE.name, Path("my models/vae"))
    assert shlex.split(command)[-1] == "my models/vae"


def test_recorded_hashes_are_hashes() -> None:
    recorded = [file.sha256 for file in KNOWN_FILES if file.sha256]
    assert len(set(recorded)) == len(recorded) >= 18
    assert all(len(each) == 64 and int(each, 16) for each in recorded)
    assert known_file("wan_2.1_vae.safetensors").size_bytes == 253_815_318


@pytest.mark.parametrize("name", [file.name for file in KNOWN_FILES if file.kind == DIT.files])
def test_a_transformer_that_is_not_here_yet_is_planned_as_what_it_is(name: str) -> None:
    """Its preset is taken from its name; then its size follows from its shapes, to a share for scales."""
    outline = published_outline(name, DIT)
    limit = 2e-2 if "fp8" in name or "int8" in name else 1e-3
    in_file = 2 if "causal_forcing" in name else 1  # of float32, and loaded in 16 bits
    assert in_file * outline.weights.total == pytest.approx(known_file(name).size_bytes, rel=limit)
    assert ("fun_control" in name) == bool(outline.spec.config.control_channels)
    assert ("fun_camera" in name) == ("Fun-Camera" in outline.spec.title)
    assert ("animate_14B" in name) == ("Animate 14B" in outline.spec.title)
    assert ("SCAIL" in name) == (outline.spec.config.branch(ScailBranch) is not None)
    assert ("5B" in name or "lucy" in name) == (outline.spec.family is WAN_2_2_5B)


@pytest.mark.parametrize(
    ("module", "kind", "model"),
    [
        ("Wan2_1-VACE_module_1_3B_bf16.safetensors", VACE_MODULE, "wan2.1_t2v_1.3B_fp16.safetensors"),
        ("Wan2_1-VACE_module_14B_bf16.safetensors", VACE_MODULE, "wan2.1_t2v_14B_fp16.safetensors"),
        ("Wan21_Uni3C_controlnet_fp16.safetensors", UNI3C_MODULE, "wan2.1_i2v_480p_14B_fp16.safetensors"),
        ("wan2.1_infiniteTalk_multi_fp16.safetensors", INFINITETALK_MODULE, "wan2.1_i2v_480p_14B_fp16.safetensors"),
    ],
)
def test_a_module_that_is_not_here_yet_is_planned_on_its_model(module: str, kind: AnyKind, model: str) -> None:
    """Its size follows from its shapes; a transformer of another width is refused as in a run.

    InfiniteTalk's file holds what is outside of blocks in 32 bits, which become 16.
    """
    alone = outline(Path(model), DIT)
    whole = outline(Path(model), DIT, modules=[(kind.name, Path(module))])
    added = whole.weights.total - alone.weights.total
    wide = TalkBranch().other_weights(INFINITETALK_14B) if kind is INFINITETALK_MODULE else 0
    assert added == pytest.approx(known_file(module).size_bytes - 2 * wide, rel=1e-3)
    assert whole.spec.title == f"{alone.spec.title} with {published_outline(module, kind).spec.title}"
    other = "wan2.1_t2v_14B_fp16.safetensors" if "1_3B" in module else "wan2.1_t2v_1.3B_fp16.safetensors"
    other = "wan2.1_fun_inp_1.3B_bf16.safetensors" if wide else other
    with pytest.raises(PairingError, match="width"):
        outline(Path(other), DIT, modules=[(kind.name, Path(module))])
