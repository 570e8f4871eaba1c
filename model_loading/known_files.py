"""The published files this version runs: where each comes from and where it belongs."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .key_maps.layouts import Kind

FileKind = Literal[Kind, "lora"]

FOLDERS: dict[FileKind, str] = {
    "dit": "models/diffusion_models",
    "vae": "models/vae",
    "text_encoder": "models/text_encoders",
    "clip_vision": "models/clip_vision",
    "vace_module": "models/diffusion_models",
    "lora": "models/loras",
}
"""Where ComfyUI looks for each kind."""

_WAN_2_1 = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
_WAN_2_2 = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"
_WRAPPER = "Kijai/WanVideo_comfy"
_FEW_STEPS = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"


class KnownFile(NamedTuple):
    """One published file. `size_bytes` is that of its weights; `what` says what it is in a user's words."""

    name: str
    kind: FileKind
    what: str
    repo: str
    path_in_repo: str
    size_bytes: int

    @property
    def folder(self) -> str:
        """Folder inside ComfyUI (or the models folder's parent) the file belongs in."""
        return FOLDERS[self.kind]


def _file(name: str, kind: FileKind, what: str, size_gb: float, repo: str = _WAN_2_1) -> KnownFile:
    folder = f"split_files/{FOLDERS[kind].removeprefix('models/')}/"
    if repo == _WRAPPER:
        folder = "Lightx2v/" if kind == "lora" else ""
    return KnownFile(name, kind, what, repo, folder + name, round(size_gb * 1e9))


# Sizes: parameters x bytes each (see the model table of the Wan reports); the header adds under 0.2 MB.
KNOWN_FILES = (
    _file("wan2.1_t2v_1.3B_bf16.safetensors", "dit", "Wan 2.1 text to video, 1.3B", 2.838),
    _file("wan2.1_t2v_1.3B_fp16.safetensors", "dit", "Wan 2.1 text to video, 1.3B", 2.838),
    _file("wan2.1_t2v_14B_bf16.safetensors", "dit", "Wan 2.1 text to video, 14B", 28.577),
    _file("wan2.1_t2v_14B_fp16.safetensors", "dit", "Wan 2.1 text to video, 14B", 28.577),
    _file("wan2.1_t2v_14B_fp8_scaled.safetensors", "dit", "Wan 2.1 text to video, 14B, in fp8", 14.291),
    _file("wan2.1_i2v_480p_14B_bf16.safetensors", "dit", "Wan 2.1 image to video at 480p, 14B", 32.790),
    _file("wan2.1_i2v_480p_14B_fp16.safetensors", "dit", "Wan 2.1 image to video at 480p, 14B", 32.790),
    _file("wan2.1_i2v_720p_14B_bf16.safetensors", "dit", "Wan 2.1 image to video at 720p, 14B", 32.790),
    _file("wan2.1_i2v_720p_14B_fp16.safetensors", "dit", "Wan 2.1 image to video at 720p, 14B", 32.790),
    _file("wan2.1_flf2v_720p_14B_fp16.safetensors", "dit", "Wan 2.1 first and last frame to video, 14B", 32.791),
    _file("wan2.1_vace_1.3B_fp16.safetensors", "dit", "Wan 2.1 VACE, 1.3B", 4.308),
    _file("wan2.1_vace_14B_fp16.safetensors", "dit", "Wan 2.1 VACE, 14B", 34.675),
    _file("wan2.2_ti2v_5B_fp16.safetensors", "dit", "Wan 2.2 text and image to video, 5B", 10.000, _WAN_2_2),
    _file("wan2.2_t2v_high_noise_14B_fp16.safetensors", "dit", "Wan 2.2 text to video, expert", 28.577, _WAN_2_2),
    _file("wan2.2_t2v_low_noise_14B_fp16.safetensors", "dit", "Wan 2.2 text to video, expert", 28.577, _WAN_2_2),
    _file("wan2.2_i2v_high_noise_14B_fp16.safetensors", "dit", "Wan 2.2 image to video, expert", 28.578, _WAN_2_2),
    _file("wan2.2_i2v_low_noise_14B_fp16.safetensors", "dit", "Wan 2.2 image to video, expert", 28.578, _WAN_2_2),
    _file("Wan2_1-VACE_module_1_3B_bf16.safetensors", "vace_module", "VACE for Wan 2.1 T2V 1.3B", 1.470, _WRAPPER),
    _file("Wan2_1-VACE_module_14B_bf16.safetensors", "vace_module", "VACE for Wan T2V 14B", 6.098, _WRAPPER),
    _file("wan_2.1_vae.safetensors", "vae", "the VAE of Wan 2.1 and of Wan 2.2 14B", 0.254),
    _file("wan2.2_vae.safetensors", "vae", "the VAE of Wan 2.2 TI2V-5B", 1.409, _WAN_2_2),
    _file("umt5_xxl_fp16.safetensors", "text_encoder", "the text encoder of all Wan models", 11.362),
    _file("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoder", "the text encoder of all Wan models, in fp8", 6.74),
    _file("clip_vision_h.safetensors", "clip_vision", "the picture encoder of Wan 2.1 image to video", 1.264),
    _file(_FEW_STEPS, "lora", "a LoRA for 4 steps, for Wan 2.1 text to video 14B", 0.613, _WRAPPER),
)

EXAMPLES: dict[FileKind, str] = {
    "dit": "wan2.1_t2v_1.3B_bf16.safetensors",
    "vae": "wan_2.1_vae.safetensors",
    "text_encoder": "umt5_xxl_fp16.safetensors",
    "clip_vision": "clip_vision_h.safetensors",
    "vace_module": "Wan2_1-VACE_module_14B_bf16.safetensors",
    "lora": _FEW_STEPS,
}
"""A file to name when another is needed."""


def known_file(name: str) -> KnownFile | None:
    """The published file called `name`, in any folder and with either kind of slash."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return next((file for file in KNOWN_FILES if file.name == base), None)


def where_to_get(kind: FileKind) -> str:
    """'NAME (repository REPO on the Hugging Face Hub) into FOLDER' for the usual file of a kind."""
    file = known_file(EXAMPLES[kind])
    return f"{file.name} (repository {file.repo} on the Hugging Face Hub) into {file.folder}"
