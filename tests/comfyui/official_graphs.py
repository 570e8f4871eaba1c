"""Graphs of ComfyUI's own nodes on small models, which run in a real ComfyUI and on the command line."""

from __future__ import annotations

import json
from typing import Any

from .conftest import node

Graph = dict[str, dict[str, Any]]
SIZE = {"width": 64, "height": 64, "length": 9, "batch_size": 1}
RUN = {"cfg": 3.0, "scheduler": "simple"}
SIDES = {"positive": ["made", 0], "negative": ["made", 1]}


def around(**nodes: dict[str, Any]) -> Graph:
    """Prompts, VAE, decoding and saving around what makes the node "latent"."""
    return {
        "text": node(
            "WanDirectorLoadTextEncoder", text_encoder_name="wan21_text.safetensors", precision="fp32", device="cpu"
        ),
        "positive": node("CLIPTextEncode", clip=["text", 0], text="a cat dances"),
        "negative": node("CLIPTextEncode", clip=["text", 0], text="blurry"),
        "vae": node("VAELoader", vae_name="official_vae.safetensors"),
        "picture": node("LoadImage", image="official.png"),
        **nodes,
        "frames": node("VAEDecode", samples=["latent", 0], vae=["vae", 0]),
        "save": node("SaveImage", images=["frames", 0], filename_prefix="official"),
    }


def model(name: str, shift: float = 5.0) -> Graph:
    """The node of this name is a model with a LoRA and a shift."""
    return {
        f"{name}_file": node("UNETLoader", unet_name=f"official_{name}.safetensors", weight_dtype="default"),
        f"{name}_lora": node(
            "LoraLoaderModelOnly",
            model=[f"{name}_file", 0],
            lora_name="official_lora.safetensors",
            strength_model=0.7,
        ),
        name: node("ModelSamplingSD3", model=[f"{name}_lora", 0], shift=shift),
    }


def text_to_video(sampler: str) -> Graph:
    return around(
        **model("t2v"),
        blank=node("EmptyHunyuanLatentVideo", **SIZE),
        latent=node(
            "KSampler", model=["t2v", 0], seed=3, steps=5, sampler_name=sampler, positive=["positive", 0],
            negative=["negative", 0], latent_image=["blank", 0], denoise=1.0, **RUN,
        ),
    )  # fmt: skip


def custom_run(sampler: str, *, start: str = "blank", output: int = 0, denoise: float = 1.0) -> Graph:
    """Noise, sampler, noise levels and guider by nodes of their own; the levels in two parts, by two samplers."""
    return around(
        **model("t2v"),
        blank=node("EmptyHunyuanLatentVideo", **SIZE),
        clip=node("RepeatImageBatch", image=["picture", 0], amount=5),
        encoded=node("VAEEncode", pixels=["clip", 0], vae=["vae", 0]),
        mask=node("SolidMask", value=0.5, width=96, height=80),
        masked=node("SetLatentNoiseMask", samples=["encoded", 0], mask=["mask", 0]),
        levels=node("BasicScheduler", model=["t2v", 0], scheduler="normal", steps=6, denoise=denoise),
        parts=node("SplitSigmas", sigmas=["levels", 0], step=3),
        solver=node("KSamplerSelect", sampler_name=sampler),
        noise=node("RandomNoise", noise_seed=3),
        silence=node("DisableNoise"),
        guider=node("CFGGuider", model=["t2v", 0], positive=["positive", 0], negative=["negative", 0], cfg=3.0),
        lone=node("BasicGuider", model=["t2v", 0], conditioning=["positive", 0]),
        first=node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["solver", 0],
            sigmas=["parts", 0], latent_image=[start, 0],
        ),
        second=node(
            "SamplerCustomAdvanced", noise=["silence", 0], guider=["lone", 0], sampler=["solver", 0],
            sigmas=["parts", 1], latent_image=["first", 0],
        ),
        latent=node("TrimVideoLatent", samples=["second" if output == 0 else "first", output], trim_amount=0),
    )  # fmt: skip


def levels_run(levels: dict[str, Any], *, change: dict[str, Any] | None = None, noised: bool = True) -> Graph:
    """SamplerCustom over levels that a node makes, and another one may change."""
    last = "levels" if change is None else "change"
    return around(
        **model("t2v"),
        blank=node("EmptyHunyuanLatentVideo", **SIZE),
        noise=node("RandomNoise", noise_seed=5),
        levels=levels,
        **({} if change is None else {"change": change}),
        noisy=node("AddNoise", model=["t2v", 0], noise=["noise", 0], sigmas=[last, 0], latent_image=["blank", 0]),
        solver=node("SamplerEulerAncestral", eta=1.0, s_noise=1.0),
        latent=node(
            "SamplerCustom", model=["t2v", 0], add_noise=noised, noise_seed=3, cfg=3.0, positive=["positive", 0],
            negative=["negative", 0], sampler=["solver", 0], sigmas=[last, 0],
            latent_image=["blank" if noised else "noisy", 0],
        ),
    )  # fmt: skip


SPACED = {"steps": 5, "sigma_max": 1.0, "sigma_min": 0.05}
LEVELS = {
    "karras": levels_run(node("KarrasScheduler", rho=7.0, **SPACED)),
    "exponential": levels_run(node("ExponentialScheduler", **SPACED)),
    "polyexponential": levels_run(node("PolyexponentialScheduler", rho=1.5, **SPACED)),
    "by hand, noise added before": levels_run(node("ManualSigmas", sigmas="0.95, 0.7, 0.3, 0"), noised=False),
    "cut": levels_run(
        node("ManualSigmas", sigmas="1, 0.9, 0.7, 0.3, 0"),
        change=node("SplitSigmasDenoise", sigmas=["levels", 0], denoise=0.5),
    ),
    "longer": levels_run(
        node("ManualSigmas", sigmas="1, 0.7, 0.3, 0"),
        change=node(
            "ExtendIntermediateSigmas", sigmas=["levels", 0], steps=3, start_at_sigma=0.9, end_at_sigma=0.2,
            spacing="cosine",
        ),
    ),
    "another first": levels_run(
        node("ManualSigmas", sigmas="1, 0.7, 0.3, 0"),
        change=node("SetFirstSigma", sigmas=["levels", 0], sigma=0.97),
    ),
}  # fmt: skip


def two_experts(
    prepare: str, sampler_name: str = "euler", leftover: str = "enable", form: str = "i2v", **pictures: Any
) -> Graph:
    """A node that prepares a video, and two experts by steps."""
    sampler = {**RUN, **SIDES, "steps": 6, "sampler_name": sampler_name}
    made = node(prepare, positive=["positive", 0], negative=["negative", 0], vae=["vae", 0], **SIZE, **pictures)
    return around(
        **model(f"{form}_high"),
        **model(f"{form}_low"),
        made=made,
        clip=node("RepeatImageBatch", image=["picture", 0], amount=9),
        edges=node("Canny", image=["clip", 0], low_threshold=0.2, high_threshold=0.5),
        camera=node("WanCameraEmbedding", camera_pose="Zoom In", width=64, height=64, length=9, speed=1.2),
        first=node(
            "KSamplerAdvanced", model=[f"{form}_high", 0], add_noise="enable", noise_seed=3, latent_image=["made", 2],
            start_at_step=0, end_at_step=3, return_with_leftover_noise=leftover, **sampler,
        ),
        latent=node(
            "KSamplerAdvanced", model=[f"{form}_low", 0], add_noise="disable", noise_seed=0, latent_image=["first", 0],
            start_at_step=3, end_at_step=10000, return_with_leftover_noise="disable", **sampler,
        ),
    )  # fmt: skip


def vace() -> Graph:
    """A reference picture and a masked control video of one frame."""
    return around(
        **model("vace", shift=8.0),
        made=node(
            "WanVaceToVideo", positive=["positive", 0], negative=["negative", 0], vae=["vae", 0], **SIZE, strength=0.9,
            control_video=["padded", 0], control_masks=["padded", 1], reference_image=["picture", 0],
        ),
        padded=node("ImagePadForOutpaint", image=["picture", 0], left=16, top=0, right=16, bottom=0, feathering=8),
        sampled=node(
            "KSampler", model=["vace", 0], seed=3, steps=4, sampler_name="uni_pc", latent_image=["made", 2],
            denoise=1.0, **RUN, **SIDES,
        ),
        latent=node("TrimVideoLatent", samples=["sampled", 0], trim_amount=["made", 3]),
    )  # fmt: skip


POINTS = [[{"x": 10 + 0.4 * t, "y": 30} for t in range(121)], [{"x": 50, "y": 60 - 0.5 * t} for t in range(90)]]
WAY = {
    "width": 64, "height": 64, "start_x": 0.2, "start_y": 0.3, "end_x": 0.9, "end_y": 0.7, "num_frames": 9,
    "num_tracks": 2, "track_spread": 0.3, "bezier": True, "mid_x": 0.5, "mid_y": 0.1, "interpolation": "ease_in",
}  # fmt: skip


def along_tracks(prepare: str, **inputs: Any) -> Graph:
    """A start image whose points move, or without tracks stays as it is."""
    sides = {"positive": ["positive", 0], "negative": ["negative", 0]}
    picture = {"vae": ["vae", 0], "start_image": ["picture", 0]}
    return around(
        **model("i2v_high"),
        way=node("GenerateTracks", **WAY),
        more=node("GenerateTracks", **WAY | {"bezier": False, "end_x": 0.0, "num_tracks": 1}),
        tracks=node("WanMoveConcatTrack", tracks_1=["way", 0], tracks_2=["more", 0]),
        made=node(prepare, **sides, **picture, **SIZE, **inputs),
        latent=node(
            "KSampler", model=["i2v_high", 0], seed=3, steps=4, sampler_name="euler", latent_image=["made", 2],
            denoise=1.0, **RUN, **SIDES,
        ),
    )  # fmt: skip


def as_its_template(graph: Graph, sampler: str, cfg: float, shift: float, **patches: Graph) -> Graph:
    """The graph with the sampler, cfg and shift of a template, its model patched in turn by nodes of these names."""
    graph["latent"]["inputs"] |= {"sampler_name": sampler, "cfg": cfg}
    graph["i2v_high"]["inputs"]["shift"] = shift
    last = "i2v_high_lora"
    for name, values in patches.items():
        graph[name] = node(name, model=[last, 0], **values)
        last = name
    graph["i2v_high"]["inputs"]["model"] = [last, 0]
    return graph


STRETCHED = {"scale_x": 1.0, "shift_x": 0.0, "scale_y": 1.0, "shift_y": 0.0, "scale_t": 7.0, "shift_t": 0.0}


def guided(**patches: Graph) -> Graph:
    """Text to video, the model patched in turn by the nodes of these names."""
    graph = text_to_video("euler")
    last = "t2v"
    for name, values in patches.items():
        graph[name] = node(name, model=[last, 0], **values)
        last = name
    graph["latent"]["inputs"]["model"] = [last, 0]
    return graph


SKIPPED = {
    "double_layers": "1", "single_layers": "9", "scale": 3.0, "start_percent": 0.01, "end_percent": 0.8,
    "rescaling_scale": 0.0,
}  # fmt: skip


CONTEXT = {
    "context_length": 9, "context_overlap": 4, "context_schedule": "standard_uniform", "context_stride": 1,
    "closed_loop": False, "fuse_method": "pyramid", "freenoise": True, "split_conds_to_windows": False,
}  # fmt: skip


def windowed(graph: Graph, before: str, name: str, **values: Any) -> Graph:
    """The graph, of 25 frames, with the MODEL of one of its nodes behind a node for windows."""
    for each in graph.values():
        each["inputs"] = {key: [name, 0] if value == [before, 0] else value for key, value in each["inputs"].items()}
        if each["inputs"].get("length") == SIZE["length"]:
            each["inputs"]["length"] = 25
    graph[name] = node(name, model=[before, 0], **CONTEXT | values)
    return graph


def video_to_video() -> Graph:
    """A picture repeated, masked and changed in part."""
    return around(
        **model("t2v"),
        clip=node("RepeatImageBatch", image=["picture", 0], amount=5),
        encoded=node("VAEEncode", pixels=["clip", 0], vae=["vae", 0]),
        padded=node("ImagePadForOutpaint", image=["picture", 0], left=64, top=0, right=0, bottom=0, feathering=16),
        masked=node("SetLatentNoiseMask", samples=["encoded", 0], mask=["padded", 1]),
        latent=node(
            "KSampler", model=["t2v", 0], seed=3, steps=5, sampler_name="euler", positive=["positive", 0],
            negative=["negative", 0], latent_image=["masked", 0], denoise=0.6, **RUN,
        ),
    )  # fmt: skip


def edit(longer: int) -> Graph:
    """Bernini's template for pictures: two samplers in turn, the size that of a picture whose longer side is given."""
    return around(
        **model("t2v"),
        source=node(
            "ResizeImageMaskNode", input=["picture", 0], resize_type="scale longer dimension", scale_method="area",
            **{"resize_type.longer_size": longer},
        ),
        size=node("GetImageSize", image=["source", 0]),
        made=node(
            "BerniniConditioning", **{side: [side, 0] for side in SIDES}, vae=["vae", 0], width=["size", 0],
            height=["size", 1], length=1, batch_size=1, source_video=["source", 0], ref_max_size=48,
            **{"reference_images.reference_image_0": ["picture", 0]},
        ),
        levels=node("BasicScheduler", model=["t2v", 0], scheduler="simple", steps=6, denoise=1.0),
        parts=node("SplitSigmas", sigmas=["levels", 0], step=3),
        solver=node("KSamplerSelect", sampler_name="res_multistep"),
        first=node(
            "SamplerCustom", model=["t2v", 0], add_noise=True, noise_seed=3, cfg=3.0, **SIDES, sampler=["solver", 0],
            sigmas=["parts", 0], latent_image=["made", 2],
        ),
        latent=node(
            "SamplerCustom", model=["t2v", 0], add_noise=False, noise_seed=0, cfg=3.0, **SIDES, sampler=["solver", 0],
            sigmas=["parts", 1], latent_image=["first", 0],
        ),
    )  # fmt: skip


def start_in_the_latent() -> Graph:
    """TI2V-5B: the start image lies in the latent, under a noise mask."""
    graph = around(
        **model("ti2v", shift=8.0),
        made=node("Wan22ImageToVideoLatent", vae=["vae", 0], **SIZE, start_image=["picture", 0]),
        latent=node(
            "KSampler", model=["ti2v", 0], seed=3, steps=4, sampler_name="uni_pc", positive=["positive", 0],
            negative=["negative", 0], latent_image=["made", 0], denoise=1.0, **RUN,
        ),
    )  # fmt: skip
    graph["vae"] = node("WanDirectorLoadVAE", vae_name="official_wan22_vae.safetensors", precision="fp32")
    return graph


def latents_cut_and_joined() -> Graph:
    """Cropped pictures encoded, the ends of the clip changed, in the sizes of one run."""
    return around(
        **model("t2v"),
        clip=node("RepeatImageBatch", image=["picture", 0], amount=9),
        part=node("ImageCrop", image=["clip", 0], width=64, height=48, x=16, y=20),
        encoded=node("VAEEncode", pixels=["part", 0], vae=["vae", 0]),
        first=node("LatentCut", samples=["encoded", 0], dim="t", index=0, amount=1),
        last=node("LatentCut", samples=["encoded", 0], dim="t", index=-2, amount=9),
        turned=node("LatentConcat", samples1=["first", 0], samples2=["last", 0], dim="-t"),
        wide=node("LatentConcat", samples1=["turned", 0], samples2=["encoded", 0], dim="x"),
        latent=node(
            "KSampler", model=["t2v", 0], seed=3, steps=3, sampler_name="euler", positive=["positive", 0],
            negative=["negative", 0], latent_image=["wide", 0], denoise=0.5, **RUN,
        ),
    )  # fmt: skip


GRAPHS = {
    **{f"t2v {sampler}": text_to_video(sampler) for sampler in ("euler", "heun", "uni_pc", "dpmpp_2m", "lcm")},
    **{
        f"custom {sampler}, output {output}": custom_run(sampler, output=output)
        for sampler, output in (
            ("euler", 0), ("euler", 1), ("heun", 1), ("uni_pc", 0), ("uni_pc", 1), ("dpmpp_2m", 1), ("lcm", 1),
            ("euler_ancestral", 0), ("res_multistep", 1),
        )
    },
    "custom with a mask": custom_run("euler", start="masked", output=1, denoise=0.8),
    **{f"levels {name}": graph for name, graph in LEVELS.items()},
    "skip layers and cfg zero star": guided(
        SkipLayerGuidanceDiT=SKIPPED,
        CFGZeroStar={},
        UNetTemporalAttentionMultiply={
            "self_structural": 1.0, "self_temporal": 1.0, "cross_structural": 1.2, "cross_temporal": 1.3,
        },
    ),
    "cfg zero star and rescaled skip layers": guided(
        CFGZeroStar={}, SkipLayerGuidanceDiT=SKIPPED | {"rescaling_scale": 0.7}
    ),
    "tangential damping": guided(TCFG={}),
    "a weaker negative side, skip layers": guided(
        SkipLayerGuidanceDiTSimple={
            "double_layers": "0", "single_layers": "", "start_percent": 0.0, "end_percent": 0.7,
        },
        SkipLayerGuidanceDiT=SKIPPED,
    ),
    "latents cut and joined": latents_cut_and_joined(),
    "windows": windowed(text_to_video("euler"), "t2v", "WanContextWindowsManual", retain_first_frame=False),
    "windows of latent frames": windowed(
        text_to_video("heun"), "t2v", "ContextWindowsManual", context_length=3, context_overlap=1, dim=2,
        context_schedule="standard_static", fuse_method="overlap-linear", cond_retain_index_list="",
        latent_retain_index_list="", causal_window_fix=False,
    ),
    "windows that keep the start image": windowed(
        along_tracks("WanMoveTrackToVideo", tracks=["tracks", 0], strength=0.8), "i2v_high", "WanContextWindowsManual",
        fuse_method="relative", retain_first_frame=True,
    ),
    "other places of the tokens": guided(
        ScaleROPE={"scale_x": 1.0, "shift_x": 0.0, "scale_y": 0.8, "shift_y": 1.5, "scale_t": 7.0, "shift_t": 0.0}
    ),
    "ati": along_tracks("WanTrackToVideo", tracks=json.dumps(POINTS), temperature=20.0, topk=2),
    "ati as its template": as_its_template(
        along_tracks("WanTrackToVideo", tracks=json.dumps(POINTS), temperature=220.0, topk=10), "uni_pc", 3.0, 8.0
    ),
    "wan move as its template": as_its_template(
        along_tracks("WanMoveTrackToVideo", tracks=["tracks", 0], strength=1.0), "er_sde", 1.0, 8.0
    ),
    "chrono edit as its template": as_its_template(
        along_tracks("WanImageToVideo"), "uni_pc", 4.0, 5.0, ScaleROPE=STRETCHED
    ),
    **{f"bernini edits a picture, {longer} wide": edit(longer) for longer in (64, 90)},
    "wan move": along_tracks("WanMoveTrackToVideo", tracks=["tracks", 0], strength=0.8),
    "i2v two experts": two_experts("WanImageToVideo", start_image=["picture", 0]),
    **{
        f"{sampler} by steps, leftover {leftover}": two_experts(
            "WanImageToVideo", sampler, leftover, start_image=["picture", 0]
        )
        for sampler, leftover in (("uni_pc", "enable"), ("dpmpp_2m", "enable"), ("lcm", "enable"), ("euler", "disable"))
    },
    "flf2v two experts": two_experts(
        "WanFirstLastFrameToVideo", start_image=["picture", 0], end_image=["picture", 0]
    ),
    "fun inpaint": two_experts("WanFunInpaintToVideo", start_image=["picture", 0]),
    "fun control": two_experts(
        "Wan22FunControlToVideo", form="fun_control", control_video=["edges", 0], ref_image=["picture", 0]
    ),
    "fun camera": two_experts(
        "WanCameraImageToVideo", form="fun_camera", start_image=["picture", 0], camera_conditions=["camera", 0]
    ),
    "vace with a reference": vace(),
    "ti2v with a start image": start_in_the_latent(),
    "v2v": video_to_video(),
}  # fmt: skip
