"""The published files this version runs: where each comes from and where it belongs."""

from __future__ import annotations

import difflib
from typing import NamedTuple


class FileKind(NamedTuple):
    """What files are chosen as, for programs, and the name of the model folder they belong in."""

    name: str
    folder_name: str

    @property
    def folder(self) -> str:
        """The folder inside ComfyUI, or inside the models folder's parent."""
        return f"models/{self.folder_name}"


DIT_FILES = FileKind("dit", "diffusion_models")
VACE_FILES = FileKind("vace_module", "diffusion_models")
SPEED_FILES = FileKind("speed_module", "diffusion_models")
UNI3C_FILES = FileKind("uni3c_module", "model_patches")
INFINITETALK_FILES = FileKind("infinitetalk_module", "model_patches")
VAE_FILES = FileKind("vae", "vae")
TEXT_FILES = FileKind("text_encoder", "text_encoders")
CLIP_FILES = FileKind("clip_vision", "clip_vision")
AUDIO_FILES = FileKind("audio_encoder", "audio_encoders")
PREVIEW_FILES = FileKind("preview_decoder", "vae_approx")
LORAS = FileKind("lora", "loras")
MODEL_PATCHES = FileKind("model_patch", "model_patches")
INTERPOLATORS = FileKind("frame_interpolator", "frame_interpolation")
CHECKPOINTS = FileKind("checkpoint", "checkpoints")

_WAN_2_1 = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
_WAN_2_2 = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"
_WRAPPER = "Kijai/WanVideo_comfy"
_WRAPPER_FP8 = "Kijai/WanVideo_comfy_fp8_scaled"
_BERNINI = "Comfy-Org/Bernini-R"
_ANIMATE_2 = "Comfy-Org/Wan-Animate-2"
_SCAIL_2 = "Comfy-Org/SCAIL-2"
_DANCER = "Comfy-Org/Wan-Dancer"
_HUMO = "Comfy-Org/HuMo_ComfyUI"
_WAV2VEC = "Kijai/wav2vec2_safetensors"
_SAM = "Comfy-Org/sam3.1"
_JOYAI = "Comfy-Org/JoyAI-Image-Edit"
_INTERPOLATION = "Comfy-Org/frame_interpolation"
_DOUBLING_VAE = "spacepxl/Wan2.1-VAE-upscale2x"
_TINY_VAES = "lightx2v/Autoencoders"
_CAUSAL = "TalmajM/causal_forcing_framewise_ComfyUI_repackaged"
_DECART = "decart-ai/Lucy-Edit-Dev-ComfyUI"
_FEW_STEPS = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
_FEW_STEPS_I2V = "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors"
_ATI = "Wan2_1-I2V-ATI-14B_fp8_e4m3fn.safetensors"
_MOVE = "Wan21-WanMove_fp8_scaled_e4m3fn_KJ.safetensors"
_TWICE = "Wan2.1_VAE_upscale2x_imageonly_real_v1.safetensors"
_I2V_FP8 = "Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ.safetensors"
_TALK = "wan2.1_infiniteTalk_{}_fp16.safetensors"
_MOVES = "Wan-Animate-2: someone of a picture moves as in a video"
_CAUSVID_1_3B = "Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32.safetensors"


class KnownFile(NamedTuple):
    """One published file; `what` says what it is in a user's words.

    `size_bytes` is the file's where `sha256` is known, else that of its weights, or about that; 0 where only its
    publisher knows it. `for_few_steps`: a model with it makes a video in 4 to 8 steps at cfg 1. `is_non_commercial`:
    its licence allows no other use. `is_run`: whether this version runs it; of others `what` says what they are.
    """

    name: str
    kind: FileKind
    what: str
    repo: str
    path_in_repo: str
    size_bytes: int
    sha256: str | None = None
    for_few_steps: bool = False
    is_non_commercial: bool = False
    is_run: bool = True

    @property
    def folder(self) -> str:
        """Folder inside ComfyUI (or the models folder's parent) the file belongs in."""
        return self.kind.folder


def _few_steps(name: str, what: str, size_gb: float, repo: str) -> KnownFile:
    return _file(name, LORAS, what, size_gb, repo)._replace(for_few_steps=True)


def _file(name: str, kind: FileKind, what: str, size_gb: float, repo: str = _WAN_2_1) -> KnownFile:
    folder = next((path for start, path in _PLACES_BY_NAME.items() if name.startswith(start)), None)
    if folder is None:
        folder = _PLACES.get(repo, "split_files/{}/").format(kind.folder_name)
    exact = _EXACT.get(name, (round(size_gb * 1e9), None))
    return KnownFile(name, kind, what, repo, folder + name, *exact, is_non_commercial=repo == _DECART)


def _waiting(name: str, kind: FileKind, what: str, size_gb: float, repo: str = _WAN_2_2) -> KnownFile:
    return _file(name, kind, what, size_gb, repo)._replace(is_run=False)


# Repository -> the folder inside of it, with the place of a model folder's name; "split_files/NAME/" in others.
_PLACES = {
    _WRAPPER: "", _WRAPPER_FP8: "I2V/", _TINY_VAES: "", _DECART: "", _WAV2VEC: "", _DOUBLING_VAE: "",
    **dict.fromkeys((_BERNINI, _ANIMATE_2, _SCAIL_2, _DANCER, _SAM, _JOYAI, _INTERPOLATION), "{}/"),
}  # fmt: skip
_PLACES_BY_NAME = {
    "lightx2v_": "Lightx2v/", "SVI_v2": "LoRAs/Stable-Video-Infinity/v2.0/", "Wan21-WanMove": "WanMove/",
}  # fmt: skip

NON_COMMERCIAL = "its licence is for non-commercial use only"
"""What is said of a file whose `is_non_commercial` holds."""

# Name -> size and sha256, as the Hub announces them and several public lists of model files repeat them.
_EXACT = {
    "wan_2.1_vae.safetensors": (
        253_815_318, "2fc39d31359a4b0a64f55876d8ff7fa8d780956ae2cb13463b0223e15148976b"),
    "wan2.2_vae.safetensors": (
        1_409_400_960, "e40321bd36b9709991dae2530eb4ac303dd168276980d3e9bc4b6e2b75fed156"),
    "Wan2_1_VAE_bf16.safetensors": (
        253_806_278, "1ab9a32cc2c740f6e39d80d367ce5dcc28db8c71b79b28670546b8973e9d75f9"),
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": (
        6_735_906_897, "c3355d30191f1f066b26d93fba017ae9809dce6c627dda5f6a66eaa651204f68"),
    "clip_vision_h.safetensors": (
        1_264_219_396, "64a7ef761bfccbadbaa3da77366aac4185a6c58fa5de5f589b42a65bcc21f161"),
    "wan2.2_ti2v_5B_fp16.safetensors": (
        9_999_658_848, "456f901338bd9eadbded3828b819109a9b68e8a525ca5cf8d0049a69fcfeca1e"),
    "wan2.1_i2v_480p_14B_fp16.safetensors": (
        32_791_377_504, "27988f6b510eb8d5fdd7485671b54897f8683f2bba7a772c5671be21d3491253"),
    "wan2.1_flf2v_720p_14B_fp16.safetensors": (
        32_792_693_440, "bf4ac25667d00f53f49df02c5771f5aa7801c1dcb9b3ccade1407687c426d030"),
    "wan2.1_fun_inp_1.3B_bf16.safetensors": (
        3_128_957_992, "8495d2b1673ffb18abb548a64ff3b0e4bd367734f653096f7a8a3ad46954d511"),
    "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors": (
        14_293_923_632, "cad711ae211c8b23455ec68cd6a190a33a3d874234a77eb57266d73f8f0e6c9f"),
    "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors": (
        14_293_923_632, "e71b96d7c82e638694c5e7fb98fac4bfb0e4ddc5fbbb4b1df40da8f0f1278a97"),
    "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors": (
        14_294_742_832, "6122e79d55e0f235698d11d657f3b196c5273c830da00b2b013c5a048d5e6a42"),
    "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors": (
        14_294_742_832, "5471a457b6ac404202a5fbe6c11595a3d5641fc766b00f38763f72303fffc21e"),
    "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors": (
        1_226_977_424, "698321cb86bd30c4af06c9b84e656a1048c8cb54e06d50694536fb5de37fde41"),
    "wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors": (
        1_226_977_424, "ec95216e614b3c132c11bfb387b11feedf62163150ccc9068bca8a189771e75a"),
    "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors": (
        1_226_977_424, "d176c808d6fc461999b68e321efcb7501b20b8c3797523ed0df14f7d1deff11e"),
    "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors": (
        1_226_977_424, "024f21de095bc8fad9809ded3e9e49a2e170dcf27075da8145ba7d60d8aab7f9"),
    _FEW_STEPS_I2V: (
        738_005_744, "85c4a61c30e0497aa44b91d93a893b624708461a56fe5485183b28fa07e2dfb3"),
    "lighttaew2_1.safetensors": (
        45_274_004, "8666e769f449f2d955651564bcadb0c5e12461b50480e67b7241f32c15f11a19"),
}  # fmt: skip

# Sizes: parameters x bytes each (see the model table of the Wan reports); the header adds under 0.2 MB. Where they do
# not follow from that, they are those that the notes of ComfyUI's workflow templates give, in hundredths of a GiB.
KNOWN_FILES = (
    _file("wan2.1_t2v_1.3B_bf16.safetensors", DIT_FILES, "Wan 2.1 text to video, 1.3B", 2.838),
    _file("wan2.1_t2v_1.3B_fp16.safetensors", DIT_FILES, "Wan 2.1 text to video, 1.3B", 2.838),
    _file("wan2.1_t2v_14B_bf16.safetensors", DIT_FILES, "Wan 2.1 text to video, 14B", 28.577),
    _file("wan2.1_t2v_14B_fp16.safetensors", DIT_FILES, "Wan 2.1 text to video, 14B", 28.577),
    _file("wan2.1_t2v_14B_fp8_scaled.safetensors", DIT_FILES, "Wan 2.1 text to video, 14B, in fp8", 14.291),
    _file("wan2.1_i2v_480p_14B_bf16.safetensors", DIT_FILES, "Wan 2.1 image to video at 480p, 14B", 32.790),
    _file("wan2.1_i2v_480p_14B_fp16.safetensors", DIT_FILES, "Wan 2.1 image to video at 480p, 14B", 32.790),
    _file("wan2.1_i2v_720p_14B_bf16.safetensors", DIT_FILES, "Wan 2.1 image to video at 720p, 14B", 32.790),
    _file("wan2.1_i2v_720p_14B_fp16.safetensors", DIT_FILES, "Wan 2.1 image to video at 720p, 14B", 32.790),
    _file("wan2.1_flf2v_720p_14B_fp16.safetensors", DIT_FILES, "Wan 2.1 first and last frame to video, 14B", 32.791),
    _file("wan2.1_vace_1.3B_fp16.safetensors", DIT_FILES, "Wan 2.1 VACE, 1.3B", 4.308),
    _file("wan2.1_vace_14B_fp16.safetensors", DIT_FILES, "Wan 2.1 VACE, 14B", 34.675),
    _file("wan2.2_ti2v_5B_fp16.safetensors", DIT_FILES, "Wan 2.2 text and image to video, 5B", 10.000, _WAN_2_2),
    _file("wan2.2_t2v_high_noise_14B_fp16.safetensors", DIT_FILES, "Wan 2.2 text to video, expert", 28.577, _WAN_2_2),
    _file("wan2.2_t2v_low_noise_14B_fp16.safetensors", DIT_FILES, "Wan 2.2 text to video, expert", 28.577, _WAN_2_2),
    _file("wan2.2_i2v_high_noise_14B_fp16.safetensors", DIT_FILES, "Wan 2.2 image to video, expert", 28.578, _WAN_2_2),
    _file("wan2.2_i2v_low_noise_14B_fp16.safetensors", DIT_FILES, "Wan 2.2 image to video, expert", 28.578, _WAN_2_2),
    *(
        _file(
            f"wan2.2_{task}_{noise}_noise_14B_fp8_scaled.safetensors", DIT_FILES, f"Wan 2.2 {title}, expert, in fp8",
            14.294, _WAN_2_2,
        )
        for task, title in (("t2v", "text to video"), ("i2v", "image to video"), ("fun_inpaint", "Fun-InP"))
        for noise in ("high", "low")
    ),
    _file("wan2.1_fun_inp_1.3B_bf16.safetensors", DIT_FILES, "Wan 2.1 Fun-InP, 1.3B", 3.129),
    _file("wan2.2_fun_inpaint_5B_bf16.safetensors", DIT_FILES, "Wan 2.2 Fun-InP, 5B", 10.001, _WAN_2_2),
    _file(
        "causal_forcing-framewise.safetensors", DIT_FILES, "Causal Forcing: videos made frame by frame, 1.3B",
        5.676, _CAUSAL,
    )._replace(for_few_steps=True),
    _file("wan2.2_animate_14B_bf16.safetensors", DIT_FILES, "Wan 2.2 Animate, 14B", 34.550, _WAN_2_2),
    _file("wan2.2_animate_14B_int8_convrot.safetensors", DIT_FILES, "Wan 2.2 Animate, 14B, in int8", 18.41, _WAN_2_2),
    _file("chrono_edit_14B_fp16.safetensors", DIT_FILES, "ChronoEdit: pictures edited by words, 14B", 32.790, _WAN_2_2),
    _file("lucy-edit-dev-cui-fp16.safetensors", DIT_FILES, "Lucy-Edit: clips edited by words, 5B", 10.000, _DECART),
    _file("wan2.1_fun_control_1.3B_bf16.safetensors", DIT_FILES, "Wan 2.1 Fun-Control, 1.3B", 3.129),
    _file("wan2.2_fun_control_5B_bf16.safetensors", DIT_FILES, "Wan 2.2 Fun-Control, 5B", 10.003, _WAN_2_2),
    _file("wan2.1_fun_camera_v1.1_1.3B_bf16.safetensors", DIT_FILES, "Wan 2.1 Fun-Camera, 1.3B", 3.233),
    _file("wan2.1_fun_camera_v1.1_14B_bf16.safetensors", DIT_FILES, "Wan 2.1 Fun-Camera, 14B", 33.796),
    *(
        _file(
            f"wan2.2_fun_{task}_{noise}_noise_14B_fp8_scaled.safetensors", DIT_FILES,
            f"Wan 2.2 Fun-{task.title()}, expert, in fp8", size_gb, _WAN_2_2,
        )
        for task, size_gb in (("control", 14.295), ("camera", 15.301))
        for noise in ("high", "low")
    ),
    *(
        _file(
            f"wan2.2_bernini_r_{noise}_noise_fp8_scaled.safetensors", DIT_FILES,
            "Bernini-R: edits by instruction, expert, in fp8", 15.58, _BERNINI,
        )
        for noise in ("high", "low")
    ),
    _file("wan2.2_s2v_14B_bf16.safetensors", DIT_FILES, "Wan 2.2 speech to video, 14B", 32.592, _WAN_2_2),
    _file("wan2.2_s2v_14B_fp8_scaled.safetensors", DIT_FILES, "Wan 2.2 speech to video, 14B, in fp8", 16.396, _WAN_2_2),
    _file("wan_animate_2_int8_convrot.safetensors", DIT_FILES, f"{_MOVES}, 14B, in int8", 16.654, _ANIMATE_2),
    _file(
        "wan_animate_2_distill_int8_convrot.safetensors", DIT_FILES, f"{_MOVES}, in 10 steps, 14B, in int8", 16.654,
        _ANIMATE_2,
    )._replace(for_few_steps=True),
    _file("wan2.1_14B_SCAIL_2_fp16.safetensors", DIT_FILES, "SCAIL-2: characters move as in a video", 32.792, _SCAIL_2),
    _file(
        "wan2.1_14B_SCAIL_2_int8_convrot.safetensors", DIT_FILES, "SCAIL-2: characters move as in a video, in int8",
        16.654, _SCAIL_2,
    ),
    _file(_I2V_FP8, DIT_FILES, "Wan 2.1 image to video at 480p, 14B, in fp8", 16.643, _WRAPPER_FP8),
    _file(_ATI, DIT_FILES, "ATI: image to video along drawn tracks, 14B, in fp8", 17.137, _WRAPPER),
    _file(_MOVE, DIT_FILES, "Wan-Move: image to video along tracks, 14B, in fp8", 16.407, _WRAPPER_FP8),
    _file("Phantom-Wan-1_3B_fp16.safetensors", DIT_FILES, "Phantom: videos of subjects, 1.3B", 2.838, _WRAPPER),
    _file("Phantom-Wan-14B_fp16.safetensors", DIT_FILES, "Phantom: videos of subjects, 14B", 28.577, _WRAPPER),
    _file("humo_17B_fp8_e4m3fn.safetensors", DIT_FILES, "HuMo: a person with a sound, 17B, in fp8", 17.062, _HUMO),
    *(
        _file(
            f"wan2.2_dancer_14b_{part}_fp8_scaled.safetensors", DIT_FILES, f"Wan-Dancer: {what}, 14B, in fp8", 18.34,
            _DANCER,
        )
        for part, what in (("global", "a plan of a dance to a song"), ("local", "a dance by its plan"))
    ),
    _file("Wan2_1-VACE_module_1_3B_bf16.safetensors", VACE_FILES, "VACE for Wan 2.1 T2V 1.3B", 1.470, _WRAPPER),
    _file("Wan2_1-VACE_module_14B_bf16.safetensors", VACE_FILES, "VACE for Wan T2V 14B", 6.098, _WRAPPER),
    _file("Wan21_Uni3C_controlnet_fp16.safetensors", UNI3C_FILES, "Uni3C: camera control, 14B", 2.331, _WRAPPER),
    _file(_TALK.format("single"), INFINITETALK_FILES, "InfiniteTalk: one person speaks, for Wan 2.1 I2V", 5.122),
    _file(_TALK.format("multi"), INFINITETALK_FILES, "InfiniteTalk: two people speak, for Wan 2.1 I2V", 5.122),
    _file("wan_2.1_vae.safetensors", VAE_FILES, "the VAE of Wan 2.1 and of Wan 2.2 14B", 0.254),
    _file("wan2.2_vae.safetensors", VAE_FILES, "the VAE of Wan 2.2 TI2V-5B", 1.409, _WAN_2_2),
    _file("Wan2_1_VAE_bf16.safetensors", VAE_FILES, "the VAE of Wan 2.1 and 2.2 14B, in bf16", 0.254, _WRAPPER),
    _file(_TWICE, VAE_FILES, "a VAE of Wan 2.1 that decodes pictures of twice the size", 0, _DOUBLING_VAE),
    _file("wan_alpha_2.1_vae_rgb_channel.safetensors", VAE_FILES, "the VAE of Wan-Alpha for the colours", 0.254),
    _file("wan_alpha_2.1_vae_alpha_channel.safetensors", VAE_FILES, "the VAE of Wan-Alpha for the transparency", 0.254),
    _file("umt5_xxl_fp16.safetensors", TEXT_FILES, "the text encoder of all Wan models", 11.362),
    _file("umt5_xxl_fp8_e4m3fn_scaled.safetensors", TEXT_FILES, "the text encoder of all Wan models, in fp8", 6.74),
    _file("clip_vision_h.safetensors", CLIP_FILES, "the picture encoder of Wan 2.1 image to video", 1.264),
    _file("wav2vec2_large_english_fp16.safetensors", AUDIO_FILES, "what Wan S2V hears speech through", 0.631, _WAN_2_2),
    _file("wav2vec2-chinese-base_fp16.safetensors", AUDIO_FILES, "what InfiniteTalk hears through", 0.19, _WAV2VEC),
    _file("whisper_large_v3_fp16.safetensors", AUDIO_FILES, "what HuMo hears a sound through", 3.092, _HUMO),
    _file("lighttaew2_1.safetensors", PREVIEW_FILES, "sharp previews of Wan 2.1 and 2.2 14B", 0.045, _TINY_VAES),
    _file("taew2_1.safetensors", PREVIEW_FILES, "sharp previews of Wan 2.1 and 2.2 14B", 0.023, _TINY_VAES),
    _file("lighttaew2_2.safetensors", PREVIEW_FILES, "sharp previews of Wan 2.2 TI2V-5B", 0.045, _TINY_VAES),
    _file("taew2_2.safetensors", PREVIEW_FILES, "sharp previews of Wan 2.2 TI2V-5B", 0.023, _TINY_VAES),
    _few_steps(_FEW_STEPS, "a LoRA for 4 steps, for Wan 2.1 text to video 14B", 0.631, _WRAPPER),
    _few_steps(_FEW_STEPS_I2V, "a LoRA for 4 steps, for Wan 2.1 image to video 14B", 0.738, _WRAPPER),
    *(
        _few_steps(
            f"wan2.2_{task}_lightx2v_4steps_lora_{version}_{noise}_noise.safetensors",
            f"a LoRA for 4 steps, for the {noise}-noise expert of Wan 2.2 {title}", 1.227, _WAN_2_2,
        )
        for task, version, title in (("t2v", "v1.1", "text to video"), ("i2v", "v1", "image to video"))
        for noise in ("high", "low")
    ),
    _few_steps("Wan21_CausVid_14B_T2V_lora_rank32.safetensors", "LoRA for few steps, 14B and VACE", 0.319, _WRAPPER),
    _few_steps(_CAUSVID_1_3B, "LoRA for few steps, 1.3B and VACE", 0.088, _WRAPPER),
    _few_steps("chronoedit_distill_lora.safetensors", "a LoRA for 8 steps, for ChronoEdit", 0.376, _WAN_2_2),
    *(
        _file(
            f"SVI_v2_PRO_Wan2.2-I2V-A14B_{noise}_lora_rank_128_fp16.safetensors", LORAS,
            f"SVI 2 Pro: long videos, for the {noise.lower()}-noise expert of Wan 2.2 image to video", 1.227, _WRAPPER,
        )
        for noise in ("HIGH", "LOW")
    ),
    _file("wan_alpha_2.1_rgba_lora.safetensors", LORAS, "Wan-Alpha: transparent videos, for Wan 2.1 T2V 14B", 0.312),
    _file(
        "wan2.1_SCAIL_2_DPO_lora_bf16.safetensors", LORAS, "a LoRA by which SCAIL-2 keeps closer to its reference",
        1.224, _SCAIL_2,
    ),
)  # fmt: skip

# What ComfyUI's Wan templates of October 2026 name beside those.
WAITING_FILES = (
    _waiting("joyai_image_edit_int8_convrot.safetensors", DIT_FILES, "JoyAI Image Edit, no Wan model", 16.428, _JOYAI),
    _waiting(
        "qwen3vl_8b_joyimage_edit_int8_convrot.safetensors", TEXT_FILES, "the text encoder of JoyAI Image Edit", 10.061,
        _JOYAI,
    ),
    _waiting("sam3.1_multiplex_fp16.safetensors", CHECKPOINTS, "SAM 3.1, which finds masks", 1.75, _SAM),
    _waiting("film_net_fp16.safetensors", INTERPOLATORS, "FILM, which makes frames between", 0.069, _INTERPOLATION),
)  # fmt: skip
"""Published files that this version does not run: known, so that a sentence says what they are, and to download."""

USUAL_MODEL = "wan2.1_t2v_1.3B_bf16.safetensors"
"""The file to name when a diffusion model is needed and nothing tells which."""

INFINITETALK_MODEL = _I2V_FP8
"""The model of image to video that InfiniteTalk is most often put onto."""

MODELS_WITH = {
    **dict.fromkeys(("animate", "animate_face"), "wan2.2_animate_14B_bf16.safetensors"),
    "dance": "wan2.2_dancer_14b_local_fp8_scaled.safetensors",
    "humo": "humo_17B_fp8_e4m3fn.safetensors",
    "pose": "wan_animate_2_int8_convrot.safetensors",
    "scail": "wan2.1_14B_SCAIL_2_int8_convrot.safetensors",
    "speech": "wan2.2_s2v_14B_fp8_scaled.safetensors",
    "vace": "wan2.1_vace_14B_fp16.safetensors",
}
"""By branch of the transformer, a model to name that has it."""
_MODULES = {
    "vace_module": {
        1536: "Wan2_1-VACE_module_1_3B_bf16.safetensors",
        5120: "Wan2_1-VACE_module_14B_bf16.safetensors",
    },
    "uni3c_module": {5120: "Wan21_Uni3C_controlnet_fp16.safetensors"},
    "infinitetalk_module": {5120: _TALK.format("single")},
    "speed_module": {1536: "model.safetensors of DiffSynth-Studio/Wan2.1-1.3b-speedcontrol-v1 on ModelScope"},
}
"""By name of a kind with a branch by itself, its file for the transformers of a width."""


def known_file(name: str) -> KnownFile | None:
    """The published file called `name`, in any folder and with either kind of slash; also one that is not run."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return next((file for file in (*KNOWN_FILES, *WAITING_FILES) if file.name == base), None)


def named_files(name: str) -> list[KnownFile]:
    """The published files that a user may mean by `name`: the one with that name, in any case and with or without its
    ending; else those whose names are alike, the likeliest first."""
    every = (*KNOWN_FILES, *WAITING_FILES)
    plain = {file.name.lower().removesuffix(".safetensors"): file for file in every}
    wanted = name.strip().replace("\\", "/").rsplit("/", 1)[-1].lower().removesuffix(".safetensors")
    if wanted in plain:
        return [plain[wanted]]
    return [plain[near] for near in difflib.get_close_matches(wanted, plain, n=3, cutoff=0.7)]


def where_to_get(name: str) -> str:
    """'NAME (repository REPO on the Hugging Face Hub) into FOLDER' for a published file; the name alone for others."""
    file = known_file(name)
    return name if file is None else f"{file.name} (repository {file.repo} on the Hugging Face Hub) into {file.folder}"


def module_file(kind: str, dim: int | None = None) -> str:
    """The published file of a kind with a branch by itself, for transformers of this width, else the usual one."""
    files = _MODULES[kind]
    return files.get(dim or 0, files[max(files)])
