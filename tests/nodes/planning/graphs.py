"""A graph for each way through the nodes, on the tiny random models."""

from __future__ import annotations

from ..conftest import HIGH, LOW
from ..headless.conftest import node
from .films import film

LONG = "a red ball " * 60
"""More tokens than the model reads: the number that a plan counts with."""


def t2v(model: str = "t2v.safetensors", text: str = "text.safetensors", vae: str = "vae.safetensors") -> dict:
    return {
        "model": node("WanDirectorLoadModel", model_name=model, precision="auto", attention="auto"),
        "vae": node("WanDirectorLoadVAE", vae_name=vae, precision="auto"),
        "encoder": node("WanDirectorLoadTextEncoder", text_encoder_name=text, precision="auto", device="auto"),
        "text": node("WanDirectorTextEncode", text_encoder=["encoder", 0], positive=LONG, negative=LONG),
        "size": node("WanDirectorEmptyLatent", vae=["vae", 0], width=64, height=96, frames=9, batch_size=2),
        "sample": node(
            "WanDirectorSampler", model=["model", 0], positive=["text", 0], negative=["text", 1], latent=["size", 0],
            seed=1, steps=2, cfg=4.0, shift=5.0, solver="euler", schedule="simple", denoise=1.0,
        ),
        "decode": node("WanDirectorDecode", vae=["vae", 0], latent=["sample", 0]),
        "save": node("WanDirectorSaveVideo", images=["decode", 0], fps=8.0, filename_prefix="a", format="gif"),
    }  # fmt: skip


def steered(prompt: dict, kind: str, **inputs) -> dict:
    """With a node between the prompts and the sampler."""
    size = {**prompt.pop("size")["inputs"], "batch_size": 1}
    prompt["steer"] = node(kind, positive=["text", 0], negative=["text", 1], **{**size, **inputs})
    prompt["sample"]["inputs"] |= {"positive": ["steer", 0], "negative": ["steer", 1], "latent": ["steer", 2]}
    return prompt


def i2v() -> dict:
    prompt = steered(
        t2v("i2v.safetensors"), "WanDirectorImageToVideo", start_image=["picture", 0], clip_vision_start=["look", 0]
    )
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["clip"] = node("WanDirectorLoadClipVision", clip_vision_name="clip.safetensors")
    prompt["look"] = node("WanDirectorClipVisionEncode", clip_vision=["clip", 0], image=["picture", 0])
    return prompt


def vace() -> dict:
    prompt = steered(
        t2v("vace.safetensors"), "WanDirectorVace", control_video=["film", 0], reference_image=["picture", 0],
        control_masks=["picture", 1],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["film"] = node("WanDirectorLoadVideo", file="clip.mp4", frames=9, fps=0.0, width=96, height=64)
    return prompt


def keyframes() -> dict:
    prompt = steered(
        t2v("wan21_i2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorImageToVideo",
        keyframes=["second", 0], end_image=["picture", 0],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["first"] = node("WanDirectorKeyframe", image=["picture", 0], frame=0)
    prompt["second"] = node("WanDirectorKeyframe", image=["picture", 0], frame=4, keyframes=["first", 0])
    return prompt


def spread() -> dict:
    """Pictures spread over a video of the size that fits them."""
    prompt = steered(
        t2v("wan21_i2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorImageToVideo",
        keyframes=["spread", 0], width=["fitting", 0], height=["fitting", 1], frames=["spread", 1],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["two"] = node("RepeatImageBatch", image=["picture", 0], amount=2)
    prompt["fitting"] = node(
        "WanDirectorFitSize", image=["two", 0], area="megapixels", megapixels=0.006, how="keep shape", multiple=16,
        fit="crop", vae=["vae", 0],
    )  # fmt: skip
    prompt["spread"] = node(
        "WanDirectorSpreadKeyframes", images=["fitting", 2], frames=9, places="0, 100%", fps=16.0
    )  # fmt: skip
    return prompt


def extended() -> dict:
    """A clip, the next one and one after it: by the last frames, and by latents."""
    prompt = t2v("wan21_i2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors")
    sides, settings = {"positive": ["text", 0], "negative": ["text", 1]}, dict(prompt["sample"]["inputs"])
    del prompt["size"], prompt["save"]
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["scaled"] = node(
        "ImageScale", image=["picture", 0], upscale_method="bilinear", width=64, height=96, crop="center"
    )
    prompt["anchor"] = node("WanDirectorEncode", vae=["vae", 0], images=["scaled", 0])
    prompt["first"] = node(
        "WanDirectorSVI", **sides, anchor_samples=["anchor", 0], frames=9, motion_latents=1, prev_samples=["anchor", 0]
    )
    prompt["theirs"] = node(
        "WanImageToVideoSVIPro", **sides, length=9, anchor_samples=["anchor", 0], motion_latent_count=1,
        prev_samples=["sample", 0],
    )  # fmt: skip
    prompt["next"] = node(
        "WanDirectorExtend", **sides, vae=["vae", 0], images=["decode", 0], frames=9, overlap=5, fit="crop",
        end_image=["picture", 0],
    )  # fmt: skip
    for name, source in (("sample", "first"), ("sample 2", "next"), ("sample 3", "theirs")):
        given = {"positive": [source, 0], "negative": [source, 1], "latent": [source, 2]}
        prompt[name] = node("WanDirectorSampler", **settings | given)
        prompt[name.replace("sample", "decode")] = node("WanDirectorDecode", vae=["vae", 0], latent=[name, 0])
    prompt["two"] = node(
        "WanDirectorJoin", clip_a=["decode", 0], clip_b=["decode 2", 0], overlap=["next", 3], blend="cross-fade",
        colours="mean",
    )  # fmt: skip
    prompt["three"] = node(
        "WanDirectorJoin", clip_a=["two", 0], clip_b=["decode 3", 0], overlap=5, blend="frames of a",
        colours="first clip", reference=["decode", 0],
    )  # fmt: skip
    prompt["save"] = node("WanDirectorSaveVideo", images=["three", 0], fps=8.0, filename_prefix="a", format="gif")
    return prompt


def ti2v() -> dict:
    prompt = steered(
        t2v("ti2v.safetensors", "wan21_text.safetensors", "wan22_vae.safetensors"), "WanDirectorImageToVideo",
        start_image=["picture", 0],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    return prompt


def experts() -> dict:
    prompt = t2v(HIGH)
    prompt["low"] = node("WanDirectorLoadModel", model_name=LOW, precision="auto", attention="auto")
    prompt["pair"] = node("WanDirectorExperts", high_noise=["model", 0], low_noise=["low", 0], low_noise_cfg=1.0)
    prompt["sample"]["inputs"] |= {"model": ["pair", 0], "steps": 6}
    return prompt


def camera() -> dict:
    prompt = steered(
        t2v("wan21_camera.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorFunControl",
        camera=["path", 0], start_image=["picture", 0], fit="crop",
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["path"] = node(
        "WanDirectorCameraPath", width=64, height=96, frames=9, move="zoom in", speed=1.0, path="", fx=0.5, fy=0.5,
        cx=0.5, cy=0.5,
    )  # fmt: skip
    return prompt


def lora() -> dict:
    prompt = t2v()
    prompt["lora"] = node("WanDirectorLora", model=["model", 0], lora_name="noted.safetensors", strength=0.5)
    prompt["sample"]["inputs"]["model"] = ["lora", 0]
    return prompt


def to_video() -> dict:
    prompt = t2v()
    del prompt["save"], prompt["decode"]
    prompt["silence"] = node("EmptyAudio", duration=1.0)
    prompt["save"] = node(
        "WanDirectorDecodeToVideo", vae=["vae", 0], latent=["sample", 0], format="webm-vp9", audio=["silence", 0]
    )
    return prompt


def v2v() -> dict:
    prompt = t2v()
    prompt["size"] = node("WanDirectorEncode", vae=["vae", 0], images=["parts", 0])
    prompt["film"] = node("LoadVideo", file="clip.mp4")
    prompt["parts"] = node("GetVideoComponents", video=["film", 0])
    prompt["sample"]["inputs"]["denoise"] = 0.5
    prompt["matched"] = node(
        "WanDirectorMatchColour", images=["decode", 0], reference=["parts", 0], method="reinhard_lab", strength=1.0,
        measured="whole clip",
    )  # fmt: skip
    prompt["save"]["inputs"] |= {"images": ["matched", 0], "audio": ["parts", 1]}
    return prompt


def swapped() -> dict:
    prompt = t2v()
    prompt["memory"] = node(
        "WanDirectorMemory", mode="manual", blocks_to_swap=1, text_encoder="cpu", vae_strips=2, feed_forward_tokens=256
    )
    for id in ("text", "sample", "decode"):
        prompt[id]["inputs"]["memory"] = ["memory", 0]
    return prompt


def options() -> dict:
    prompt = t2v()
    prompt["guided"] = node(
        "WanDirectorGuidance", model=["model", 0], formula="apg", cfg_course="4, 3", cfg_start=0.0, cfg_end=1.0,
        zero_steps=0, apg_parallel=0.0, apg_longest=0.0, skip_blocks="1", skip_scale=2.0, skip_start=0.0, skip_end=0.5,
        nag_scale=5.0, nag_alpha=0.25, nag_tau=2.5, nag_end=1.0,
    )  # fmt: skip
    prompt["moving"] = node(
        "WanDirectorMotion", model=["guided", 0], amount=0.5, method="both", words_end=0.5, calm_words="still",
        lively_words="fast", text_encoder=["encoder", 0], prompt=LONG,
    )  # fmt: skip
    prompt["cached"] = node(
        "WanDirectorStepCache", model=["moving", 0], method="easycache", threshold=-1.0, start=0.2, end=0.95,
        most_in_a_row=3, table="",
    )  # fmt: skip
    prompt["windows"] = node(
        "WanDirectorWindows", model=["cached", 0], frames=5, overlap=0, schedule="moving", blend="linear",
        noise="repeated", from_sigma=0.9, keep_first_frame=True, frame_before=True,
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["windows", 0]
    return prompt


def travelling() -> dict:
    prompt = t2v()
    lines = f"0: {LONG}\n5: {LONG}"
    prompt["travel"] = node(
        "WanDirectorPromptTravel", text_encoder=["encoder", 0], prompts=lines, global_prompt="", transition=4,
        method="passes",
    )  # fmt: skip
    prompt["sample"]["inputs"]["positive"] = ["travel", 0]
    return prompt


def batched() -> dict:
    """Prompts of two shapes, in two batches."""
    prompt = t2v()
    for id in ("text", "size", "save", "decode"):
        del prompt[id]
    lines = f"96x64x9 | {LONG}\n{LONG}\n96x64x9 | {LONG}"
    prompt["batches"] = node(
        "WanDirectorBatchPrompts", text_encoder=["encoder", 0], vae=["vae", 0], prompts=lines, negative=LONG, width=64,
        height=96, frames=5, batch_size=4,
    )  # fmt: skip
    given = {"positive": ["batches", 0], "negative": ["batches", 1], "latent": ["batches", 2]}
    prompt["sample"]["inputs"] |= given
    prompt["apart"] = node("WanDirectorUnbatch", latents=["sample", 0], order=["batches", 3])
    prompt["save"] = node("WanDirectorDecodeToVideo", vae=["vae", 0], latent=["apart", 0], format="gif")
    return prompt


def to_native() -> dict:
    prompt = t2v()
    prompt["bridged"] = node("WanDirectorToNativeModel", model=["model", 0])
    prompt["sample"] = node(
        "KSampler", model=["bridged", 0], positive=["text", 0], negative=["text", 1], latent_image=["size", 0], seed=1,
        steps=2, cfg=4.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    return prompt


def from_native() -> dict:
    prompt = t2v()
    prompt["loader"] = node("UNETLoader", unet_name="t2v.safetensors", weight_dtype="default")
    prompt["model"] = node("WanDirectorFromNative", model=["loader", 0], attention="auto")
    return prompt


GRAPHS = {
    made.__name__: made
    for made in (
        t2v,
        i2v,
        vace,
        camera,
        keyframes,
        spread,
        extended,
        ti2v,
        experts,
        lora,
        to_video,
        v2v,
        swapped,
        options,
        travelling,
        batched,
        film,
        to_native,
        from_native,
    )
}
