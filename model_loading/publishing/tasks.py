"""What people want to do, and the files that it takes: a task in a size, a precision and a number of steps."""

from __future__ import annotations

from typing import NamedTuple

from .known_files import KnownFile, known_file

_VAE = "wan_2.1_vae"
_TEXT = {"": "umt5_xxl_fp16", "fp8": "umt5_xxl_fp8_e4m3fn_scaled"}
_CLIP = "clip_vision_h"
_I2V_LORA = "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16"
_T2V_LORA = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16"
_CAUSVID = {"14B": "Wan21_CausVid_14B_T2V_lora_rank32", "1.3B": "Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32"}


class TaskFiles(NamedTuple):
    """A name such as i2v-A14B-fp8, what it is in a user's words, and the names of its files."""

    name: str
    what: str
    file_names: tuple[str, ...]

    @property
    def files(self) -> list[KnownFile]:
        """The published files."""
        return [file for name in self.file_names if (file := known_file(name)) is not None]

    @property
    def is_non_commercial(self) -> bool:
        """Whether a file may be used in no other way."""
        return any(file.is_non_commercial for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)


def _task(name: str, what: str, *models: str, vae: str = _VAE, clip: bool = False) -> TaskFiles:
    text = _TEXT["fp8" if "fp8" in name or "int8" in name else ""]
    return TaskFiles(
        name, what, tuple(f"{each}.safetensors" for each in (*models, text, vae, *([_CLIP] if clip else [])))
    )


def _experts(task: str, precision: str) -> tuple[str, str]:
    return f"wan2.2_{task}_high_noise_14B_{precision}", f"wan2.2_{task}_low_noise_14B_{precision}"


def _pair(task: str, version: str) -> tuple[str, str]:
    return (
        f"wan2.2_{task}_lightx2v_4steps_lora_{version}_high_noise",
        f"wan2.2_{task}_lightx2v_4steps_lora_{version}_low_noise",
    )


_SPEECH = ("wan2.2_s2v_14B_fp8_scaled", "wav2vec2_large_english_fp16")
_HUMO = ("humo_17B_fp8_e4m3fn", "whisper_large_v3_fp16")
_DANCERS = tuple(f"wan2.2_dancer_14b_{part}_fp8_scaled" for part in ("global", "local"))
_I2V_FP8 = "Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ"
_TALK = (_I2V_FP8, "wan2.1_infiniteTalk_single_fp16", "wav2vec2-chinese-base_fp16")
_ALPHA = ("wan_alpha_2.1_rgba_lora", "wan_alpha_2.1_vae_rgb_channel", "wan_alpha_2.1_vae_alpha_channel")
_ATI, _MOVE = "Wan2_1-I2V-ATI-14B_fp8_e4m3fn", "Wan21-WanMove_fp8_scaled_e4m3fn_KJ"
_BERNINI = ("wan2.2_bernini_r_high_noise_fp8_scaled", "wan2.2_bernini_r_low_noise_fp8_scaled")
_SCAIL_2, _SCAIL_2_INT8 = "wan2.1_14B_SCAIL_2_fp16", "wan2.1_14B_SCAIL_2_int8_convrot"
_SCAIL_2_LORA = "wan2.1_SCAIL_2_DPO_lora_bf16"
_MOVES = "Wan-Animate-2: someone of a picture moves as in a video"
TASKS = (
    _task("t2v-1.3B", "text to video", "wan2.1_t2v_1.3B_fp16"),
    _task("t2v-14B", "text to video", "wan2.1_t2v_14B_fp16"),
    _task("t2v-14B-fp8", "text to video", "wan2.1_t2v_14B_fp8_scaled"),
    _task("t2v-14B-fp8-4steps", "text to video in 4 steps", "wan2.1_t2v_14B_fp8_scaled", _T2V_LORA),
    TaskFiles(
        "alpha-14B-fp8", "transparent videos, Wan-Alpha",
        tuple(f"{name}.safetensors" for name in ("wan2.1_t2v_14B_fp8_scaled", *_ALPHA, _TEXT["fp8"])),
    ),
    _task("t2v-A14B", "text to video, Wan 2.2", *_experts("t2v", "fp16")),
    _task("t2v-A14B-fp8", "text to video, Wan 2.2", *_experts("t2v", "fp8_scaled")),
    _task(
        "t2v-A14B-fp8-4steps", "text to video in 4 steps, Wan 2.2", *_experts("t2v", "fp8_scaled"),
        *_pair("t2v", "v1.1"),
    ),
    _task("i2v-14B-480p", "image to video", "wan2.1_i2v_480p_14B_fp16", clip=True),
    _task("i2v-14B-480p-fp8", "image to video", _I2V_FP8, clip=True),
    _task("i2v-14B-480p-fp8-4steps", "image to video in 4 steps", _I2V_FP8, _I2V_LORA, clip=True),
    _task("i2v-14B-720p", "image to video", "wan2.1_i2v_720p_14B_fp16", clip=True),
    _task("i2v-A14B", "image to video, Wan 2.2", *_experts("i2v", "fp16")),
    _task("i2v-A14B-fp8", "image to video, Wan 2.2", *_experts("i2v", "fp8_scaled")),
    _task(
        "i2v-A14B-fp8-4steps", "image to video in 4 steps, Wan 2.2", *_experts("i2v", "fp8_scaled"),
        *_pair("i2v", "v1"),
    ),
    _task("flf-14B", "first and last frame to video", "wan2.1_flf2v_720p_14B_fp16", clip=True),
    _task("flf-A14B", "first and last frame to video, Wan 2.2", *_experts("i2v", "fp16")),
    _task("flf-A14B-fp8", "first and last frame to video, Wan 2.2", *_experts("i2v", "fp8_scaled")),
    _task(
        "flf-A14B-fp8-4steps", "first and last frame to video in 4 steps, Wan 2.2", *_experts("i2v", "fp8_scaled"),
        *_pair("i2v", "v1"),
    ),
    _task("s2v-14B", "somebody who speaks, Wan 2.2", "wan2.2_s2v_14B_bf16", _SPEECH[1]),
    _task("s2v-14B-fp8", "somebody who speaks, Wan 2.2", *_SPEECH),
    _task(
        "s2v-14B-fp8-4steps", "somebody who speaks in 4 steps, Wan 2.2", *_SPEECH, _pair("t2v", "v1.1")[0],
    ),
    _task("infinitetalk-14B-fp8-6steps", "somebody who speaks in 6 steps, InfiniteTalk", *_TALK, _I2V_LORA),
    _task("humo-17B-fp8-6steps", "HuMo: a person with a sound, in 6 steps", *_HUMO, _I2V_LORA),
    _task("dancer-14B-fp8-6steps", "Wan-Dancer: a dance to music, in 6 steps", *_DANCERS, _I2V_LORA, clip=True),
    _task("ti2v-5B", "text and image to video, Wan 2.2", "wan2.2_ti2v_5B_fp16", vae="wan2.2_vae"),
    _task("causal-1.3B", "text or image to video frame by frame, Causal Forcing", "causal_forcing-framewise"),
    _task("edit-picture-14B", "a picture edited by words, ChronoEdit", "chrono_edit_14B_fp16", clip=True),
    _task(
        "edit-picture-14B-8steps", "a picture edited by words in 8 steps, ChronoEdit", "chrono_edit_14B_fp16",
        "chronoedit_distill_lora", clip=True,
    ),
    _task("edit-clip-5B", "a clip edited by words, Lucy-Edit", "lucy-edit-dev-cui-fp16", vae="wan2.2_vae"),
    _task("bernini-A14B-fp8", "Bernini-R: a video or picture edited by instruction", *_BERNINI),
    _task("bernini-A14B-fp8-6steps", "Bernini-R in 6 steps", *_BERNINI, _T2V_LORA),
    _task("animate-14B", "Animate: a person follows poses and a face", "wan2.2_animate_14B_bf16", clip=True),
    _task("animate-14B-int8", "Animate, in int8", "wan2.2_animate_14B_int8_convrot", clip=True),
    _task("phantom-1.3B", "Phantom: subjects of pictures in a video", "Phantom-Wan-1_3B_fp16"),
    _task("phantom-14B", "Phantom", "Phantom-Wan-14B_fp16"),
    _task("ati-14B-fp8", "ATI: a picture that moves along drawn tracks", _ATI, clip=True),
    _task("move-14B-fp8-6steps", "Wan-Move: a picture moves along tracks, in 6 steps", _MOVE, _I2V_LORA, clip=True),
    _task("scail2-14B", "SCAIL-2: a character moves as in a video", _SCAIL_2, clip=True),
    _task("scail2-14B-int8", "SCAIL-2", _SCAIL_2_INT8, clip=True),
    _task("scail2-14B-int8-6steps", "SCAIL-2 in 6 steps", _SCAIL_2_INT8, _I2V_LORA, _SCAIL_2_LORA, clip=True),
    _task("animate2-14B-int8", _MOVES, "wan_animate_2_int8_convrot", clip=True),
    _task("animate2-14B-int8-6steps", f"{_MOVES}, in 6 steps", "wan_animate_2_int8_convrot", _I2V_LORA, clip=True),
    _task("animate2-14B-int8-10steps", f"{_MOVES}, in 10 steps", "wan_animate_2_distill_int8_convrot", clip=True),
    _task("vace-1.3B", "VACE", "wan2.1_vace_1.3B_fp16"),
    _task("vace-1.3B-4steps", "VACE in few steps", "wan2.1_vace_1.3B_fp16", _CAUSVID["1.3B"]),
    _task("vace-14B", "VACE", "wan2.1_vace_14B_fp16"),
    _task("vace-14B-4steps", "VACE in few steps", "wan2.1_vace_14B_fp16", _CAUSVID["14B"]),
    _task("inp-1.3B", "Fun-InP: start and end picture, any mask", "wan2.1_fun_inp_1.3B_bf16", clip=True),
    _task("inp-A14B-fp8", "Fun-InP, Wan 2.2", *_experts("fun_inpaint", "fp8_scaled")),
    _task(
        "inp-A14B-fp8-4steps", "Fun-InP in 4 steps, Wan 2.2", *_experts("fun_inpaint", "fp8_scaled"),
        *_pair("i2v", "v1"),
    ),
    _task("inp-5B", "Fun-InP, Wan 2.2", "wan2.2_fun_inpaint_5B_bf16", vae="wan2.2_vae"),
    _task("control-1.3B", "Fun-Control: led by a control video", "wan2.1_fun_control_1.3B_bf16", clip=True),
    _task("control-A14B-fp8", "Fun-Control, Wan 2.2", *_experts("fun_control", "fp8_scaled")),
    _task(
        "control-A14B-fp8-4steps", "Fun-Control in 4 steps, Wan 2.2", *_experts("fun_control", "fp8_scaled"),
        *_pair("i2v", "v1"),
    ),
    _task("control-5B", "Fun-Control, Wan 2.2", "wan2.2_fun_control_5B_bf16", vae="wan2.2_vae"),
    _task("camera-1.3B", "Fun-Camera: a picture and a camera path", "wan2.1_fun_camera_v1.1_1.3B_bf16", clip=True),
    _task("camera-14B", "Fun-Camera", "wan2.1_fun_camera_v1.1_14B_bf16", clip=True),
    _task("camera-A14B-fp8", "Fun-Camera, Wan 2.2", *_experts("fun_camera", "fp8_scaled")),
    _task(
        "camera-A14B-fp8-4steps", "Fun-Camera in 4 steps, Wan 2.2", *_experts("fun_camera", "fp8_scaled"),
        *_pair("i2v", "v1"),
    ),
)  # fmt: skip


def named_tasks(name: str) -> list[TaskFiles]:
    """The task of that name, else those whose names begin with its words: 'i2v' and 'i2v-A14B' stand for several."""
    wanted = name.strip().lower().replace("_", "-").replace("flf2v", "flf")
    exact = [task for task in TASKS if task.name.lower() == wanted]
    return exact or [task for task in TASKS if wanted and task.name.lower().startswith(f"{wanted}-")]
