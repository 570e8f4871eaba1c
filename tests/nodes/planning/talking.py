"""Graphs of people who speak."""

from __future__ import annotations

from ..headless.conftest import node
from .graphs import steered, t2v


def spoken() -> dict:
    """Two chunks with one sound, joined as latents, and the sound in the file."""
    prompt = steered(
        t2v("s2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorSpeechToVideo",
        fit="crop", audio=["heard", 0], reference_image=["picture", 0], pose_video=["film", 0],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["film"] = node("WanDirectorLoadVideo", file="clip.mp4", frames=5, fps=0.0, width=96, height=64)
    prompt["sound"] = node("EmptyAudio", duration=1.3)
    prompt["ear"] = node("WanDirectorLoadAudioEncoder", audio_encoder_name="speech.safetensors", precision="auto")
    prompt["heard"] = node("WanDirectorAudioEncode", audio_encoder=["ear", 0], audio=["sound", 0])
    first = prompt["steer"]["inputs"]
    prompt["steer 2"] = node("WanDirectorSpeechToVideo", **{**first, "previous": ["sample", 0], "frames": 5})
    given = {"positive": ["steer 2", 0], "negative": ["steer 2", 1], "latent": ["steer 2", 2], "seed": 2}
    prompt["sample 2"] = node("WanDirectorSampler", **{**prompt["sample"]["inputs"], **given})
    prompt["both"] = node("LatentConcat", samples1=["sample", 0], samples2=["sample 2", 0], dim="t")
    prompt["decode"]["inputs"]["latent"] = ["both", 0]
    prompt["save"]["inputs"] |= {"audio": ["sound", 0], "format": "mp4-h264", "quality": 80}
    return prompt


def spoken_natively() -> dict:
    """The same nodes of ComfyUI."""
    prompt = spoken()
    prompt["ear"] = node("AudioEncoderLoader", audio_encoder_name="speech.safetensors")
    prompt["heard"] = node("AudioEncoderEncode", audio_encoder=["ear", 0], audio=["sound", 0])
    given = {
        "positive": ["text", 0], "negative": ["text", 1], "vae": ["vae", 0], "audio_encoder_output": ["heard", 0],
        "ref_image": ["picture", 0], "control_video": ["film", 0],
    }  # fmt: skip
    size = {"width": 64, "height": 96, "length": 9, "batch_size": 1}
    prompt["steer"] = node("WanSoundImageToVideo", **given, **size, ref_motion=["film", 0])
    prompt["steer 2"] = node("WanSoundImageToVideoExtend", **given, length=5, video_latent=["sample", 0])
    return prompt


def humo() -> dict:
    """Somebody with a sound."""
    prompt = steered(
        t2v("humo.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorHumo",
        fit="crop", audio=["heard", 0], reference_image=["picture", 0],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["sound"] = node("EmptyAudio", duration=1.3)
    prompt["ear"] = node("WanDirectorLoadAudioEncoder", audio_encoder_name="whisper.safetensors", precision="auto")
    prompt["heard"] = node("WanDirectorAudioEncode", audio_encoder=["ear", 0], audio=["sound", 0])
    return prompt


def humo_natively() -> dict:
    """The same node of ComfyUI."""
    prompt = humo()
    ours = prompt["steer"]["inputs"]
    prompt["steer"] = node(
        "WanHuMoImageToVideo", positive=["text", 0], negative=["text", 1], vae=["vae", 0], width=ours["width"],
        height=ours["height"], length=9, batch_size=1, audio_encoder_output=["heard", 0], ref_image=["picture", 0],
    )  # fmt: skip
    return prompt


def danced() -> dict:
    """The plan of a dance to a song."""
    prompt = steered(
        t2v("dancer.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorDancer",
        fit="crop", music=["heard", 0], start_image=["picture", 0],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["sound"] = node("EmptyAudio", duration=1.3)
    prompt["heard"] = node("WanDirectorDanceMusic", audio=["sound", 0], frames=9, strength=1.0)
    return prompt


def danced_natively() -> dict:
    """The same nodes of ComfyUI."""
    prompt = danced()
    ours = prompt["steer"]["inputs"]
    prompt["heard"] = node("WanDancerEncodeAudio", audio=["sound", 0], video_frames=9, audio_inject_scale=1.0)
    prompt["steer"] = node(
        "WanDancerVideo", positive=["text", 0], negative=["text", 1], vae=["vae", 0], width=ours["width"],
        height=ours["height"], length=9, audio_encoder_output=["heard", 0], start_image=["picture", 0],
    )  # fmt: skip
    return prompt


def talking() -> dict:
    """Two people, in two chunks, joined."""
    prompt = steered(
        t2v("wan21_i2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorInfiniteTalk",
        fit="crop", start_image=["picture", 0], audio=["heard", 0], audio_2=["heard", 0], mask_1=["who", 0],
        mask_2=["who", 0], audio_scale=1.0, speakers="at the same time", motion_frames=5,
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["who"] = node("SolidMask", value=1.0, width=64, height=96)
    prompt["sound"] = node("EmptyAudio", duration=1.3)
    prompt["ear"] = node(
        "WanDirectorLoadAudioEncoder", audio_encoder_name="wav2vec2_base.safetensors", precision="auto"
    )
    prompt["heard"] = node("WanDirectorAudioEncode", audio_encoder=["ear", 0], audio=["sound", 0])
    prompt["module"] = node("WanDirectorLoadInfiniteTalk", infinitetalk_name="infinitetalk.safetensors")
    prompt["model"]["inputs"]["module"] = ["module", 0]
    first = prompt["steer"]["inputs"]
    prompt["steer 2"] = node("WanDirectorInfiniteTalk", **{**first, "previous_frames": ["decode", 0], "frames": 13})
    given = {"positive": ["steer 2", 0], "negative": ["steer 2", 1], "latent": ["steer 2", 2], "seed": 2}
    prompt["sample 2"] = node("WanDirectorSampler", **{**prompt["sample"]["inputs"], **given})
    prompt["decode 2"] = node("WanDirectorDecode", vae=["vae", 0], latent=["sample 2", 0])
    prompt["join"] = node(
        "WanDirectorJoin", clip_a=["decode", 0], clip_b=["decode 2", 0], overlap=5, blend="frames of a", colours="off"
    )
    prompt["save"]["inputs"]["images"] = ["join", 0]
    return prompt


def talking_natively() -> dict:
    """One person, by the nodes of ComfyUI from the loaders to the sampler."""
    prompt = talking()
    for gone in ("steer 2", "sample 2", "decode 2", "join", "who"):
        del prompt[gone]
    prompt["model"] = node("UNETLoader", unet_name="wan21_i2v.safetensors", weight_dtype="default")
    prompt["module"] = node("ModelPatchLoader", name="infinitetalk.safetensors")
    ours = prompt["steer"]["inputs"]
    prompt["steer"] = node(
        "WanInfiniteTalkToVideo", mode="single_speaker", model=["model", 0], model_patch=["module", 0],
        positive=["text", 0], negative=["text", 1], vae=["vae", 0], width=ours["width"], height=ours["height"],
        length=9, audio_encoder_output_1=["heard", 0], motion_frame_count=5, audio_scale=1.0,
        start_image=["picture", 0],
    )  # fmt: skip
    prompt["sample"] = node(
        "KSampler", model=["steer", 0], positive=["steer", 1], negative=["steer", 2], latent_image=["steer", 3], seed=1,
        steps=2, cfg=2.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    prompt["save"]["inputs"]["images"] = ["decode", 0]
    return prompt


TALKING = (spoken, spoken_natively, humo, humo_natively, danced, danced_natively, talking, talking_natively)
