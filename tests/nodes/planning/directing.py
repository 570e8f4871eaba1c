"""Graphs of what directs the sampler, beside those of `graphs`."""

from __future__ import annotations

from ..headless.conftest import node
from .graphs import LONG, experts, i2v, keyframes, steered, t2v, travelling, v2v
from .talking import TALKING


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


def animated() -> dict:
    """A second part of a video of a person, who is put into another one, swapped in windows."""
    prompt = steered(
        t2v("wan21_animate.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorAnimate",
        reference_image=["picture", 0], fit="crop", continue_motion_max_frames=5, video_frame_offset=9, frames=17,
        pose_video=["film", 0], face_video=["film", 0], background_video=["film", 0], character_mask=["picture", 1],
        continue_motion=["film", 0], clip_vision=["look", 0],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["clip"] = node("WanDirectorLoadClipVision", clip_vision_name="clip.safetensors")
    prompt["look"] = node("WanDirectorClipVisionEncode", clip_vision=["clip", 0], image=["picture", 0])
    prompt["film"] = node("WanDirectorLoadVideo", file="clip.mp4", frames=9, fps=0.0, width=96, height=64)
    prompt["windows"] = node(
        "WanDirectorWindows", model=["model", 0], frames=9, overlap=4, schedule="static", blend="linear",
        noise="repeated", from_sigma=1.0, keep_first_frame=False, frame_before=False,
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["windows", 0]
    return prompt


def animated_natively() -> dict:
    """The node of ComfyUI, whose latent a native one trims."""
    prompt = animated()
    given = ("background_video", "character_mask", "continue_motion", "pose_video", "face_video", "reference_image")
    ours = prompt["steer"]["inputs"]
    prompt["steer"] = node(
        "WanAnimateToVideo", positive=["text", 0], negative=["text", 1], vae=["vae", 0], width=ours["width"],
        height=ours["height"], length=17, batch_size=1, continue_motion_max_frames=5, video_frame_offset=9,
        clip_vision_output=["look", 0], **{name: ours[name] for name in given},
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["model", 0]
    prompt["trim"] = node("TrimVideoLatent", samples=["sample", 0], trim_amount=["steer", 3])
    prompt["decode"]["inputs"]["latent"] = ["trim", 0]
    return prompt


def of_subjects() -> dict:
    """Pictures behind the video, with a scale of their own."""
    prompt = steered(
        t2v("wan21_t2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorPhantom",
        fit="pad", reference_image_1=["picture", 0], reference_image_2=["two", 0],
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["two"] = node("RepeatImageBatch", image=["picture", 0], amount=2)
    prompt["guided"] = node("WanDirectorGuidance", **instructed()["guided"]["inputs"] | {"formula": "phantom"})
    prompt["sample"]["inputs"]["model"] = ["guided", 0]
    return prompt


def of_subjects_natively() -> dict:
    """Nodes of ComfyUI from the pictures to the latent."""
    prompt = of_subjects()
    for gone in ("guided", "sample", "model"):
        del prompt[gone]
    prompt["steer"] = node(
        "WanPhantomSubjectToVideo", positive=["text", 0], negative=["text", 1], vae=["vae", 0], width=64, height=96,
        length=9, batch_size=1, images=["two", 0],
    )  # fmt: skip
    prompt["file"] = node("UNETLoader", unet_name="wan21_t2v.safetensors", weight_dtype="default")
    prompt["guider"] = node(
        "DualCFGGuider", model=["file", 0], cond1=["steer", 0], cond2=["steer", 1], negative=["steer", 2],
        cfg_conds=7.5, cfg_cond2_negative=5.0, style="regular",
    )  # fmt: skip
    prompt["noise"] = node("RandomNoise", noise_seed=1)
    prompt["euler"] = node("KSamplerSelect", sampler_name="euler")
    prompt["levels"] = node("BasicScheduler", model=["file", 0], scheduler="simple", steps=2, denoise=1.0)
    prompt["sample"] = node(
        "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["euler", 0], sigmas=["levels", 0],
        latent_image=["steer", 3],
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


def acted() -> dict:
    """Persons who move as in a film, in a part that begins with frames of another, in windows."""
    prompt = steered(
        t2v("wan21_scail.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors"), "WanDirectorScail",
        fit="crop", pose_strength=0.8, pose_start_percent=0.0, pose_end_percent=0.6, video_frame_offset=5,
        previous_frame_count=5, replacement_mode=True, pose_video=["film", 0], pose_video_mask=["masks", 0],
        reference_image=["two", 0], reference_image_mask=["masks", 1], previous_frames=["film", 0], frames=13,
    )  # fmt: skip
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["two"] = node("RepeatImageBatch", image=["picture", 0], amount=2)
    prompt["film"] = node("WanDirectorLoadVideo", file="clip.mp4", frames=9, fps=0.0, width=96, height=64)
    prompt["there"] = node("ImageToMask", image=["film", 0], channel="red")
    prompt["here"] = node("ImageToMask", image=["two", 0], channel="red")
    person = {"replacement_mode": True, "sort_by": "none", "persons": ""}
    person |= {"pose_mask": ["there", 0], "reference_mask": ["here", 0]}
    prompt["first"] = node("WanDirectorColouredMasks", colour="red", **person)
    prompt["masks"] = node(
        "WanDirectorColouredMasks", colour="next", **person, pose_video_mask=["first", 0],
        reference_image_mask=["first", 1],
    )  # fmt: skip
    prompt["windows"] = node(
        "WanDirectorWindows", model=["model", 0], frames=9, overlap=4, schedule="static", blend="linear",
        noise="repeated", from_sigma=1.0, keep_first_frame=False, frame_before=False,
    )  # fmt: skip
    prompt["sample"]["inputs"]["model"] = ["windows", 0]
    return prompt


def acted_natively() -> dict:
    """The same by the node of ComfyUI."""
    prompt = acted()
    own = prompt["steer"]["inputs"]
    same = ("positive", "negative", "vae", "width", "height", "batch_size", "pose_strength", "video_frame_offset")
    same += ("previous_frame_count", "replacement_mode", "pose_video", "pose_video_mask", "reference_image")
    same += ("reference_image_mask", "previous_frames")
    given = {name: own[name] for name in same}
    prompt["steer"] = node("WanSCAILToVideo", length=own["frames"], pose_start=0.0, pose_end=0.6, **given)
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


def rendered_natively() -> dict:
    """The same with ComfyUI's loaders, node and sampler."""
    prompt = rendered()
    prompt["model"] = node("UNETLoader", unet_name="wan21_t2v.safetensors", weight_dtype="default")
    prompt["module"] = node("ModelPatchLoader", name="uni3c.safetensors")
    prompt["follow"] = node(
        "WanUni3CControlnetApply", model=["model", 0], model_patch=["module", 0], vae=["vae", 0],
        render_video=["film", 0], strength=0.8, start_percent=0.0, end_percent=0.5,
    )  # fmt: skip
    prompt["sample"] = node(
        "KSampler", model=["follow", 0], positive=["text", 0], negative=["text", 1], latent_image=["size", 0], seed=1,
        steps=2, cfg=2.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    return prompt


DIRECTING = {
    made.__name__: made
    for made in (
        in_one_pass, moving_image, at_a_speed, edited, edited_by_experts, first_frame_edited, by_instruction,
        edited_picture, instructed, instructed_natively, animated, animated_natively, of_subjects,
        of_subjects_natively, enlarged, tiled, acted, acted_natively, *TALKING, chunk_by_chunk, rendered,
        rendered_natively,
    )
}  # fmt: skip
