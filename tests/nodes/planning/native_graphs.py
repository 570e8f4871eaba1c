"""Graphs with every node of ComfyUI that the command line knows."""

from __future__ import annotations

from ..headless.conftest import node
from .graphs import LONG

POINTS = str([[{"x": 8 + step, "y": 8} for step in range(9)]])


def in_windows(model: list) -> dict:
    """A model that sees windows, and another one that does by the other node."""
    windows = {"context_stride": 1, "closed_loop": False, "split_conds_to_windows": False}
    return {
        "in windows": node("WanContextWindowsManual", model=model, context_length=9, context_overlap=4,
                           context_schedule="standard_uniform", fuse_method="pyramid", freenoise=True,
                           retain_first_frame=True, **windows),
        "in latent windows": node("ContextWindowsManual", model=["shifted", 0], context_length=3, context_overlap=1,
                                  context_schedule="standard_static", fuse_method="overlap-linear", dim=2,
                                  freenoise=False, cond_retain_index_list="", latent_retain_index_list="",
                                  causal_window_fix=True, **windows),
    }  # fmt: skip


def along_tracks(video: dict) -> dict:
    """Start images that are moved."""
    return {
        "points": node("WanMoveTracksFromCoords", track_coords=POINTS),
        "curve": node("GenerateTracks", width=64, height=96, start_x=0.1, start_y=0.1, end_x=0.9, end_y=0.9,
                      num_frames=9, num_tracks=2, track_spread=0.1, bezier=True, mid_x=0.5, mid_y=0.1,
                      interpolation="linear"),
        "tracks": node("WanMoveConcatTrack", tracks_1=["points", 0], tracks_2=["curve", 0]),
        "moved": node("WanMoveTrackToVideo", tracks=["tracks", 0], strength=1.0, start_image=["picture", 0], **video),
        "tracked": node("WanTrackToVideo", tracks=POINTS, temperature=220.0, topk=2, start_image=["picture", 0],
                        **video),
    }  # fmt: skip


def custom_runs(sides: dict) -> dict:
    """Runs whose noise, sampler, noise levels and guider are nodes of their own."""
    return {
        "levels": node("BasicScheduler", model=["shifted", 0], scheduler="simple", steps=4, denoise=1.0),
        "halves": node("SplitSigmas", sigmas=["levels", 0], step=2),
        "noise": node("RandomNoise", noise_seed=1),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "guider": node("CFGGuider", model=["damped", 0], cfg=3.0, **sides),
        "lone guider": node("BasicGuider", model=["shifted", 0], conditioning=["text", 0]),
        "high": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["euler", 0],
                     sigmas=["halves", 0], latent_image=["empty", 0]),
        "low": node("SamplerCustomAdvanced", noise=["silence", 0], guider=["lone guider", 0], sampler=["euler", 0],
                    sigmas=["halves", 1], latent_image=["high", 1]),
        "silence": node("DisableNoise"),
        "noisy": node("AddNoise", model=["shifted", 0], noise=["noise", 0], sigmas=["levels", 0],
                      latent_image=["low", 0]),
        "custom": node("SamplerCustom", model=["shifted", 0], add_noise=False, noise_seed=1, cfg=3.0,
                       sampler=["euler", 0], sigmas=["levels", 0], latent_image=["noisy", 0], **sides),
        "guess": node("VAEDecode", samples=["custom", 1], vae=["vae", 0]),
        "chunks": node("SamplerARVideo", num_frame_per_block=2),
        "begun": node("ARVideoI2V", model=["shifted", 0], vae=["vae", 0], start_image=["picture", 0], width=64,
                      height=96, length=9, batch_size=1),
        "made freely": node("EmptyARVideoLatent", width=64, height=96, length=9, batch_size=1),
        "chunk guider": node("BasicGuider", model=["begun", 0], conditioning=["text", 0]),
        "causal": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["chunk guider", 0], sampler=["chunks", 0],
                       sigmas=["levels", 0], latent_image=["begun", 1]),
        "causal too": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["chunk guider", 0],
                           sampler=["chunks", 0], sigmas=["levels", 0], latent_image=["made freely", 0]),
        "shown": node("VAEDecode", samples=["causal", 0], vae=["vae", 0]),
        "shown too": node("VAEDecode", samples=["causal too", 0], vae=["vae", 0]),
        "half way": node("SamplingPercentToSigma", model=["shifted", 0], sampling_percent=0.5,
                         return_actual_sigma=False),
    }  # fmt: skip


def prompts() -> dict:
    """What becomes of a prompt."""
    return {
        "text": node("CLIPTextEncode", clip=["encoder", 0], text=LONG),
        "zero": node("ConditioningZeroOut", conditioning=["text", 0]),
        "two": node("ConditioningCombine", conditioning_1=["text", 0], conditioning_2=["joined", 0]),
        "joined": node("ConditioningConcat", conditioning_to=["text", 0], conditioning_from=["text", 0]),
        "mean": node("ConditioningAverage", conditioning_to=["text", 0], conditioning_from=["zero", 0]),
        "part": node("ConditioningSetTimestepRange", conditioning=["mean", 0], start=0.0, end=0.5),
        "weak": node("ConditioningSetAreaStrength", conditioning=["two", 0], strength=0.5),
        "place": node("ConditioningSetMask", conditioning=["weak", 0], mask=["picture", 1], strength=1.0,
                      set_cond_area="default"),
    }  # fmt: skip


def native() -> dict:
    """Every node of ComfyUI that runs a model, or steers one."""
    sides, size = {"positive": ["text", 0], "negative": ["zero", 0]}, {"width": 64, "height": 96, "length": 9}
    steps = {"steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", **sides}
    video = {**sides, **size, "vae": ["wan vae", 0]}
    return {
        "model": node("UNETLoader", unet_name="t2v.safetensors", weight_dtype="default"),
        "encoder": node("CLIPLoader", clip_name="text.safetensors", type="wan"),
        "vae": node("VAELoader", vae_name="vae.safetensors"),
        "wan vae": node("VAELoader", vae_name="wan21_vae.safetensors"),
        "vae 2.2": node("VAELoader", vae_name="wan22_vae.safetensors"),
        "eye": node("CLIPVisionLoader", clip_name="clip.safetensors"),
        "picture": node("LoadImage", image="start.png"),
        "look": node("CLIPVisionEncode", clip_vision=["eye", 0], image=["picture", 0], crop="center"),
        "lora": node("LoraLoaderModelOnly", model=["model", 0], lora_name="away.safetensors", strength_model=1.0),
        "both": node("LoraLoader", model=["lora", 0], clip=["encoder", 0], lora_name="away.safetensors"),
        "shifted": node("ModelSamplingSD3", model=["both", 0], shift=5.0),
        **prompts(),
        "empty": node("EmptyHunyuanLatentVideo", batch_size=1, **size),
        "leaning": node("SkipLayerGuidanceDiT", model=["shifted", 0], double_layers="1", single_layers="", scale=3.0,
                        start_percent=0.0, end_percent=0.5, rescaling_scale=0.0),
        "starred": node("CFGZeroStar", model=["leaning", 0]),
        "simpler": node("SkipLayerGuidanceDiTSimple", model=["starred", 0], double_layers="0", single_layers="",
                        start_percent=0.0, end_percent=1.0),
        "damped": node("TCFG", model=["shifted", 0]),
        "same": node("UNetTemporalAttentionMultiply", model=["simpler", 0]),
        "placed": node("ScaleROPE", model=["same", 0], scale_x=1.0, shift_x=0.0, scale_y=1.0, shift_y=0.0, scale_t=2.0,
                       shift_t=0.0),
        "cached": node("EasyCache", model=["placed", 0], reuse_threshold=0.2, start_percent=0.15, end_percent=0.95,
                       verbose=False),
        **in_windows(["cached", 0]),
        "sample": node("KSampler", model=["in windows", 0], latent_image=["empty", 0], seed=1, denoise=1.0, **steps),
        "rest": node("KSamplerAdvanced", model=["shifted", 0], latent_image=["masked", 0], add_noise="enable",
                     noise_seed=1, start_at_step=1, end_at_step=3, return_with_leftover_noise="enable", **steps),
        **custom_runs(sides),
        "masked": node("SetLatentNoiseMask", samples=["encoded", 0], mask=["picture", 1]),
        "encoded": node("VAEEncode", pixels=["decoded", 0], vae=["vae", 0]),
        "encoded too": node("VAEEncodeTiled", pixels=["decoded", 0], vae=["vae", 0]),
        "decoded": node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
        "decoded too": node("VAEDecodeTiled", samples=["trimmed", 0], vae=["vae", 0]),
        "trimmed": node("TrimVideoLatent", samples=["rest", 0], trim_amount=1),
        "start": node("WanImageToVideo", clip_vision_output=["look", 0], start_image=["picture", 0], **video),
        "ends": node("WanFirstLastFrameToVideo", start_image=["picture", 0], end_image=["picture", 0], **video),
        "fun": node("WanFunInpaintToVideo", start_image=["picture", 0], **video),
        "way": node("WanCameraEmbedding", camera_pose="Pan Up", **size),
        "camera": node("WanCameraImageToVideo", camera_conditions=["way", 0], start_image=["picture", 0], **video),
        **along_tracks(video),
        "edges": node("Canny", image=["decoded", 0], low_threshold=0.2, high_threshold=0.5),
        "control": node("WanFunControlToVideo", control_video=["edges", 0], start_image=["picture", 0], **video),
        "control 2.2": node("Wan22FunControlToVideo", control_video=["edges", 0], ref_image=["picture", 0], **video),
        "vace": node("WanVaceToVideo", reference_image=["picture", 0], control_video=["decoded", 0], **video),
        "5b": node("Wan22ImageToVideoLatent", vae=["vae 2.2", 0], start_image=["picture", 0], **size),
        "wide": node("ImagePadForOutpaint", image=["picture", 0], left=16, top=0, right=16, bottom=0),
        "seen": node("JoinImageWithAlpha", image=["wide", 0], alpha=["wide", 1]),
        "save": node(
            "SaveAnimatedWEBP", images=["decoded too", 0], filename_prefix="a", fps=8.0, lossless=True, quality=80,
            method="default",
        ),
    }  # fmt: skip


def of_noise_levels() -> dict:
    """What a custom run is made of, and needs no model."""
    spaced, level = {"steps": 4, "sigma_max": 1.0, "sigma_min": 0.05}, {"sigmas": ["typed", 0]}
    nodes = {
        "typed": node("ManualSigmas", sigmas="1, 0.8, 0.5, 0"),
        "karras": node("KarrasScheduler", rho=7.0, **spaced),
        "exponential": node("ExponentialScheduler", **spaced),
        "polyexponential": node("PolyexponentialScheduler", rho=1.0, **spaced),
        "turned": node("FlipSigmas", **level),
        "last part": node("SplitSigmasDenoise", denoise=0.5, **level),
        "moved": node("SetFirstSigma", sigma=0.9, **level),
        "longer": node("ExtendIntermediateSigmas", steps=2, start_at_sigma=-1.0, end_at_sigma=0.0, spacing="sine",
                       **level),
        "ancestral": node("SamplerEulerAncestral", eta=1.0, s_noise=1.0),
        "two stages": node("SamplerDPMPP_2S_Ancestral", eta=1.0, s_noise=1.0),
        "extended": node("SamplerER_SDE", solver_type="ER-SDE", max_stage=3, eta=1.0, s_noise=1.0),
    }  # fmt: skip
    return {**nodes, **{f"{id} told": node("PreviewAny", source=[id, 0]) for id in nodes}}


def of_texts(text: list) -> dict:
    """Nodes that take a text apart and choose among texts, each told."""
    nodes = {
        "choice": node("CustomCombo", choice="x", index=0, option1="x"),
        "part": node(
            "RegexExtract", string=text, regex_pattern="c", mode="First Match", case_insensitive=True,
            multiline=False, dotall=False, group_index=1,
        ),
    }  # fmt: skip
    return {**nodes, **{f"{id} told": node("PreviewAny", source=[id, 0]) for id in nodes}}


def videos() -> dict:
    """The nodes of videos and sound."""
    return {
        "film": node("LoadVideo", file="clip.mp4"),
        "cut": node("Video Slice", video=["film", 0], start_time=0.1, duration=0.2),
        "parts": node("GetVideoComponents", video=["cut", 0]),
        "sound": node("LoadAudio", audio="clip.mp4"),
        "heard": node("TrimAudioDuration", audio=["sound", 0], start_index=0.1, duration=0.2),
        "silence": node("EmptyAudio", duration=1.0),
        "silent": node("CreateVideo", images=["parts", 0], fps=["rate", 0], audio=["silence", 0]),
        "silent kept": node("SaveVideo", video=["silent", 0], format="auto"),
        "made": node("CreateVideo", images=["parts", 0], fps=["rate", 0], audio=["heard", 0]),
        "kept": node("SaveVideo", video=["made", 0], format="auto"),
        "copied": node("SaveVideo", video=["cut", 0], format="auto"),
    }


def everything_else() -> dict:
    """Every node of ComfyUI that the command line knows and that runs no model, and a latent that is decoded."""
    pictures, masks = ["picture", 0], ["picture", 1]
    nodes = {
        **videos(),
        "picture": node("LoadImage", image="start.png"),
        "alpha": node("LoadImageMask", image="start.png", channel="red"),
        "latent": node("LoadLatent", latent="kept.latent"),
        "vae": node("WanDirectorLoadVAE", vae_name="vae.safetensors"),
        "twice as long": node("LatentConcat", samples1=["latent", 0], samples2=["latent", 0], dim="t"),
        "its end": node("LatentCut", samples=["twice as long", 0], dim="t", index=-2, amount=2),
        "coloured": node("ColorTransfer", image_target=["decoded", 0], image_ref=["picture", 0], method="mkl_lab",
                         source_stats="uniform"),
        "decoded": node("WanDirectorDecode", vae=["vae", 0], latent=["its end", 0]),
        "cropped": node("ImageCrop", image=["empty", 0], width=400, height=300, x=10, y=20),
        "taken": node("ImageFromBatch", image=["parts", 0], batch_index=0, length=2),
        "batch": node("ImageBatch", image1=pictures, image2=["taken", 0]),
        "many": node("BatchImagesNode", **{"images.image0": pictures, "images.image1": ["batch", 0]}),
        "mask": node("MaskToImage", mask=["masks", 0]),
        "masks": node("BatchMasksNode", **{"masks.mask0": masks, "masks.mask1": ["inverted mask", 0]}),
        "inverted mask": node("InvertMask", mask=["solid", 0]),
        "solid": node("SolidMask", value=0.5, width=800, height=600),
        "channel": node("ImageToMask", image=pictures, channel="green"),
        "repeated": node("RepeatImageBatch", image=pictures, amount=3),
        "empty": node("EmptyImage", width=800, height=400, batch_size=2),
        "how large": node("GetImageSize", image=["empty", 0]),
        "negative": node("ImageInvert", image=["empty", 0]),
        "scaled": node("ImageScale", image=pictures, upscale_method="lanczos", width=["how large", 0], height=0,
                       crop="center"),
        "twice": node("ImageScaleBy", image=pictures, upscale_method="bicubic", scale_by=2.0),
        "mega": node("ImageScaleToTotalPixels", image=pictures, upscale_method="area", megapixels=0.5),
        "fitted": node("ResizeImageMaskNode", input=masks, resize_type="match size", scale_method="bilinear",
                       **{"resize_type.match": pictures, "resize_type.crop": "center"}),
        "shown": node("PreviewImage", images=["chosen", 0]),
        "chosen": node("ComfySwitchNode", switch=["all", 0], on_true=["many", 0], on_false=["nowhere", 0]),
        "nowhere": node("LoadImage", image="nowhere.png"),
        "all": node("ComfyAndNode", **{"values.value0": ["some", 0], "values.value1": ["yes", 0]}),
        "some": node("ComfyOrNode", **{"values.value0": ["no", 0], "values.value1": ["yes", 0]}),
        "no": node("ComfyNotNode", value=["yes", 0]),
        "yes": node("PrimitiveBoolean", value=True),
        "rate": node("PrimitiveFloat", value=8.0),
        "count": node("PrimitiveInt", value=3),
        "sum": node("ComfyMathExpression", expression="a + 1", **{"values.a": ["count", 0]}),
        "name": node("PrimitiveString", value="a"),
        "lines": node("PrimitiveStringMultiline", value="b"),
        "both": node("StringConcatenate", string_a=["name", 0], string_b=["lines", 0], delimiter=" "),
        "other": node("StringReplace", string=["both", 0], find="a", replace="c"),
        **{f"told {id}": node("PreviewAny", source=[id, slot]) for id, slot in (("other", 0), ("sum", 1))},
        **of_noise_levels(), **of_texts(["other", 0]),
    }  # fmt: skip
    for number, id in enumerate(
        ("decoded", "mask", "repeated", "negative", "scaled", "twice", "mega", "shown", "cropped"), 1
    ):
        nodes[f"save {number}"] = node("SaveImage", images=[id, 0], filename_prefix="x")
    for number, id in enumerate(("alpha", "channel", "fitted"), 1):
        nodes[f"grey {number}"] = node("MaskToImage", mask=[id, 0])
        nodes[f"save grey {number}"] = node("SaveImage", images=[f"grey {number}", 0], filename_prefix="x")
    return nodes


def written() -> dict:
    """A prompt that a language model writes out, which a plan asks for nothing."""
    return {
        "picture": node("LoadImage", image="start.png"),
        "written": node(
            "WanDirectorEnhancePrompt", prompt="a cat", task="text to video", model="at the address",
            address="http://127.0.0.1:9/v1", server_model="", language="English", seed=0, temperature=0.7, max_tokens=8,
            image=["picture", 0],
        ),
    }  # fmt: skip
