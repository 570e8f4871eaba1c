"""Graphs of what directs the sampler, beside those of `graphs`."""

from __future__ import annotations

from ..headless.conftest import node
from .graphs import LONG, experts, i2v, keyframes, steered, t2v, travelling, v2v


def in_one_pass() -> dict:
    prompt = travelling()
    prompt["travel"]["inputs"]["method"] = "attention"
    return prompt


def moving_image() -> dict:
    """Wan Motion with what it changes of a start image."""
    prompt = keyframes()
    prompt["moving"] = node(
        "WanDirectorMotion", model=["model", 0], amount=0.5, method="time", words_end=1.0, calm_words="still",
        lively_words="fast", low_pass=0.4, low_pass_end=0.6, amplify=1.15,
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["moving", 0]
    return prompt


def at_a_speed() -> dict:
    """Speed control by a module and its motion bucket."""
    prompt = t2v()
    prompt["model"]["inputs"]["speed_module"] = "speed_module.safetensors"
    prompt["moving"] = node(
        "WanDirectorMotion", model=["model", 0], amount=0.0, method="time", words_end=1.0, calm_words="still",
        lively_words="fast", motion_bucket=70,
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["moving", 0]
    return prompt


def edited() -> dict:
    """Two edits in a row of a clip: where the words say, and where the first one was."""
    prompt = v2v()
    del prompt["sample"]
    prompt["before"] = node("WanDirectorTextEncode", text_encoder=["encoder", 0], positive=LONG, negative="")
    edit = {
        "model": ["model", 0], "positive": ["text", 0], "negative": ["text", 1], "latent": ["size", 0], "seed": 1,
        "steps": 4, "cfg": 4.0, "source_cfg": 1.5, "shift": 5.0, "schedule": "simple", "strength": 0.6,
        "auto_mask": "words",
    }  # fmt: skip
    prompt["edit"] = node("WanDirectorEditClip", **edit, source=["before", 0])
    again = {"latent": ["edit", 0], "mask": ["edit", 1], "auto_mask": "off", "source_cfg": 3.0}
    prompt["edit again"] = node("WanDirectorEditClip", **{**edit, **again})
    prompt["decode"]["inputs"]["latent"] = ["edit again", 0]
    return prompt


def edited_by_experts() -> dict:
    """An edit with both experts, without a source, of a clip that the sampler makes."""
    prompt = experts()
    prompt["edit"] = node(
        "WanDirectorEditClip", model=["pair", 0], positive=["text", 0], negative=["text", 1], latent=["sample", 0],
        seed=1, steps=6, cfg=4.0, source_cfg=1.5, shift=5.0, schedule="simple", strength=0.9, auto_mask="words",
    )  # fmt: skip
    prompt["decode"]["inputs"]["latent"] = ["edit", 0]
    return prompt


def first_frame_edited() -> dict:
    """An edit by the image-to-video model: both clips with first frames of their own."""
    prompt = i2v()
    prompt["own"] = node("WanDirectorImageToVideo", **{**prompt["steer"]["inputs"], "start_image": ["other", 0]})
    prompt["other"] = node("LoadImage", image="start.png")
    prompt["edit"] = node(
        "WanDirectorEditClip", model=["model", 0], positive=["steer", 0], negative=["steer", 1], latent=["sample", 0],
        source=["own", 0], source_negative=["own", 1], seed=1, steps=4, cfg=2.0, source_cfg=1.5, shift=5.0,
        schedule="simple", strength=0.7, auto_mask="off",
    )  # fmt: skip
    prompt["decode"]["inputs"]["latent"] = ["edit", 0]
    return prompt


def by_instruction() -> dict:
    """A clip for a Lucy-Edit model."""
    prompt = t2v("lucy_edit.safetensors", "wan21_text.safetensors", "wan22_vae.safetensors")
    prompt["film"] = node("WanDirectorLoadVideo", file="clip.mp4", frames=9, fps=0.0, width=96, height=64)
    prompt["size"] = node(
        "WanDirectorSourceVideo", positive=["text", 0], negative=["text", 1], vae=["vae", 0], images=["film", 0]
    )
    sides = {"positive": ["size", 0], "negative": ["size", 1], "latent": ["size", 2]}
    prompt["sample"]["inputs"] |= sides
    return prompt


def edited_picture() -> dict:
    """A picture edited in four steps, of which two reason, and saved."""
    prompt = t2v("i2v.safetensors")
    for gone in ("size", "sample", "decode"):
        del prompt[gone]
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["fit"] = node(
        "WanDirectorFitSize", image=["picture", 0], area="megapixels", megapixels=0.004, how="keep shape", multiple=16,
        fit="crop",
    )  # fmt: skip
    prompt["clip"] = node("WanDirectorLoadClipVision", clip_vision_name="clip.safetensors")
    prompt["look"] = node("WanDirectorClipVisionEncode", clip_vision=["clip", 0], image=["fit", 2])
    prompt["edit"] = node(
        "WanDirectorEditPicture", model=["model", 0], positive=["text", 0], negative=["text", 1], vae=["vae", 0],
        image=["fit", 2], seed=1, steps=4, cfg=4.0, shift=5.0, solver="unipc", schedule="official", reasoning_steps=2,
        clip_vision=["look", 0],
    )  # fmt: skip
    prompt["save"]["inputs"]["images"] = ["edit", 0]
    return prompt


def instructed() -> dict:
    """A source and references beside the video, in stages and windows."""
    prompt = steered(
        t2v("wan21_t2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorBernini",
        fit="crop", reference_max_size=64, source_video=["film", 0], reference_video=["film", 0],
        reference_image_1=["two", 0], frames=17,
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["two"] = node("RepeatImageBatch", image=["picture", 0], amount=2)
    prompt["film"] = node("WanDirectorLoadVideo", file="clip.mp4", frames=9, fps=0.0, width=96, height=64)
    prompt["guided"] = node(
        "WanDirectorGuidance", model=["model", 0], formula="staged", cfg_course="", cfg_start=0.0, cfg_end=1.0,
        zero_steps=0, apg_parallel=0.0, apg_longest=0.0, skip_blocks="", skip_scale=2.0, skip_start=0.0, skip_end=0.5,
        nag_scale=1.0, nag_alpha=0.25, nag_tau=2.5, nag_end=1.0,
    )  # fmt: skip
    prompt["windows"] = node(
        "WanDirectorWindows", model=["guided", 0], frames=9, overlap=4, schedule="static", blend="linear",
        noise="repeated", from_sigma=1.0, keep_first_frame=False, frame_before=False,
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["windows", 0]
    return prompt


def instructed_natively() -> dict:
    """The same node of ComfyUI."""
    prompt = instructed()
    ours = prompt["steer"]["inputs"]
    prompt["steer"] = node(
        "BerniniConditioning", positive=["text", 0], negative=["text", 1], vae=["vae", 0], width=ours["width"],
        height=ours["height"], length=17, batch_size=1, source_video=["film", 0], ref_max_size=64,
        **{"reference_images.reference_image_0": ["picture", 0]},
    )  # fmt: skip
    return prompt


def enlarged() -> dict:
    """A clip made larger in tiles and windows, its frames enlarged by arithmetic."""
    prompt = v2v()
    del prompt["sample"], prompt["size"]
    prompt["windows"] = node(
        "WanDirectorWindows", model=["model", 0], frames=5, overlap=4, schedule="static", blend="linear", noise="fresh"
    )
    prompt["upscale"] = node(
        "WanDirectorUpscaleVideo", model=["windows", 0], positive=["text", 0], negative=["text", 1], vae=["vae", 0],
        images=["parts", 0], factor=2.0, width=0, height=0, seed=1, steps=3, cfg=4.0, shift=5.0, solver="euler",
        schedule="simple", denoise=0.25, tile_width=96, tile_height=64, tile_overlap=16,
    )  # fmt: skip
    prompt["decode"]["inputs"]["latent"] = ["upscale", 0]
    return prompt


def tiled() -> dict:
    """Wan Tiles before the sampler."""
    prompt = v2v()
    prompt["tiles"] = node("WanDirectorTiles", model=["model", 0], width=32, height=32, overlap=16)
    prompt["sample"]["inputs"]["model"] = ["tiles", 0]
    return prompt


def chunk_by_chunk() -> dict:
    """A clip gone on with by a causal model, and saved while it is made."""
    prompt = v2v()
    del prompt["sample"], prompt["decode"], prompt["save"], prompt["matched"]
    prompt["causal"] = node("WanDirectorCausal", model=["model", 0], chunk_frames=2, window_frames=3, sink_frames=1)
    prompt["size"] = node(
        "WanDirectorCausalStart", vae=["vae", 0], start_image=["parts", 0], width=64, height=96, frames=33,
        batch_size=1, fit="crop",
    )  # fmt: skip
    prompt["stream"] = node(
        "WanDirectorStreamVideo", model=["causal", 0], positive=["text", 0], negative=["text", 1], vae=["vae", 0],
        latent=["size", 0], seed=1, steps=2, cfg=4.0, shift=5.0, solver="lcm", schedule="simple", fps=8.0,
        filename_prefix="a", format="gif",
    )  # fmt: skip
    return prompt


def rendered() -> dict:
    """A clip that follows a rendered one in the first half of the steps."""
    prompt = t2v("wan21_t2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors")
    prompt["film"] = node("WanDirectorLoadVideo", file="clip.mp4", frames=9, fps=0.0, width=80, height=64)
    prompt["module"] = node("WanDirectorLoadUni3C", uni3c_name="uni3c.safetensors")
    prompt["model"]["inputs"]["module"] = ["module", 0]
    prompt["follow"] = node(
        "WanDirectorUni3C", positive=["text", 0], negative=["text", 1], vae=["vae", 0], latent=["size", 0],
        render_video=["film", 0], strength=0.8, start_percent=0.0, end_percent=0.5, fit="crop",
    )  # fmt: skip
    prompt["sample"]["inputs"] |= {"positive": ["follow", 0], "negative": ["follow", 1]}
    return prompt


DIRECTING = {
    made.__name__: made
    for made in (
        in_one_pass, moving_image, at_a_speed, edited, edited_by_experts, first_frame_edited, by_instruction,
        edited_picture, instructed, instructed_natively, enlarged, tiled, chunk_by_chunk, rendered,
    )
}  # fmt: skip
