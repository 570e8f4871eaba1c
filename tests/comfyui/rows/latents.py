"""LATENT and VAE: latents of one side through the nodes of the other."""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import torch
from measure import Row, fact, same, worst
from runs import PARITY, clip_of, natively, ours

DECODED, ENCODED = 1e-5, 5e-6
"""Limits of docs/exactness.md."""


@functools.cache
def encoded(w: Any, side: str, backwards: bool = False) -> dict:
    """A clip by our encoder node, or by ComfyUI's, each over its own VAE."""
    frames = clip_of().flip(0) if backwards else clip_of()
    if side == "ours":
        return w.one("WanDirectorEncode", vae=w.vae("ours"), images=frames)
    return w.one("VAEEncode", vae=w.vae("native"), pixels=frames)


def decoded(w: Any, node: str, vae: str, latent: dict) -> torch.Tensor:
    if node == "ours":
        return w.one("WanDirectorDecode", vae=w.vae(vae), latent=latent)
    return w.one("VAEDecode", vae=w.vae(vae), samples=latent)


def decode(w: Any, node: str, vae: str) -> dict:
    latent = encoded(w, "native")
    return same(decoded(w, node, vae, latent), decoded(w, "native", "native", latent))


def encode(w: Any, node: str, vae: str) -> dict:
    if node == "ours":
        made = w.one("WanDirectorEncode", vae=w.vae(vae), images=clip_of())
    else:
        made = w.one("VAEEncode", vae=w.vae(vae), pixels=clip_of())
    return same(made["samples"], encoded(w, "native")["samples"])


def odd_encode(w: Any) -> dict:
    """Pixels and frames that do not fit: both VAEs leave the same ones out."""
    frames = clip_of(7, 70)
    one, other = (w.one("VAEEncode", vae=w.vae(side), pixels=frames)["samples"] for side in ("ours", "native"))
    return same(one, other)


def tiled(w: Any, node: str, **tiles: int) -> dict:
    """Ours does without tiles, so that it equals the whole."""
    if node == "VAEDecodeTiled":
        latent = encoded(w, "native")
        made = w.one(node, vae=w.vae("ours"), samples=latent, **tiles)
        return same(made, decoded(w, "native", "native", latent))
    made = w.one(node, vae=w.vae("ours"), pixels=clip_of(), **tiles)["samples"]
    return same(made, encoded(w, "native")["samples"])


def inpaint(w: Any) -> dict:
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48] = 1.0
    given = {"pixels": clip_of(1), "mask": mask, "grow_mask_by": 4}
    try:
        other = w.one("VAEEncodeForInpaint", vae=w.vae("native"), **given)
    except TypeError:  # 0.3.64 divides by the ratio of a picture's VAE, and a video's is three numbers
        return {"lacking": ["VAEEncodeForInpaint for VAEs of videos"]}
    one = w.one("VAEEncodeForInpaint", vae=w.vae("ours"), **given)
    return worst(same(one["samples"], other["samples"]), same(one["noise_mask"], other["noise_mask"]))


def inpaint_conditioning(w: Any) -> dict:
    """For models with inpainting channels of another kind: what it gives has no place in Wan."""
    from runs import sides

    mask = torch.ones(1, 64, 64)
    positive, negative, latent = w.call(
        "InpaintModelConditioning", vae=w.vae("ours"), pixels=clip_of(1), mask=mask, noise_mask=True, **sides(w)
    )
    ours(w, w.model(), latent, positive=positive, negative=negative)
    raise AssertionError("it was taken")


def through(w: Any, change: Any) -> dict:
    """Latents of both sides through a node of ComfyUI's, each decoded by the other side."""
    native = change(w, encoded(w, "native"), encoded(w, "native", True))
    own = change(w, encoded(w, "ours"), encoded(w, "ours", True))
    expected = decoded(w, "native", "native", native)
    return worst(
        same(decoded(w, "native", "native", own), expected),
        same(decoded(w, "ours", "ours", native), expected),
        same(decoded(w, "ours", "ours", own), expected),
    )


def sampled_through(w: Any, change: Any) -> dict:
    """A latent that a node changes, in both samplers at denoise 0.6."""
    latent = change(w, encoded(w, "native"), encoded(w, "native", True))
    return same(
        ours(w, w.model(), latent, denoise=0.6)["samples"], natively(w, w.unet(), latent, denoise=0.6)["samples"]
    )


def saved(w: Any, latent: dict, other: dict) -> dict:
    import folder_paths

    folder = folder_paths.get_output_directory()
    name = w.one  # keeps the node's own way of naming
    made = w._classes["SaveLatent"]().save(latent, "rows/latent")
    entry = made["ui"]["latents"][0]
    import pathlib
    import shutil

    target = pathlib.Path(folder_paths.get_input_directory()) / entry["filename"]
    shutil.move(str(pathlib.Path(folder) / entry["subfolder"] / entry["filename"]), target)
    return name("LoadLatent", latent=entry["filename"])


def mask_of_half() -> torch.Tensor:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1.0
    return mask


def empties(w: Any) -> dict:
    """What each empty latent of the same size gives, in our sampler."""
    sizes = {"width": 64, "height": 64, "batch_size": 1}
    own = w.one("WanDirectorEmptyLatent", vae=w.vae("ours"), frames=9, **sizes)
    native = w.one("EmptyHunyuanLatentVideo", length=9, **sizes)
    one, other = (ours(w, w.model(), latent)["samples"] for latent in (own, native))
    theirs = natively(w, w.unet(), own)["samples"]
    return worst(same(one, other), same(theirs, natively(w, w.unet(), native)["samples"]))


def empty_over_native_vae(w: Any) -> dict:
    own, native = (
        w.one("WanDirectorEmptyLatent", vae=w.vae(side), width=64, height=64, frames=9, batch_size=1)
        for side in ("ours", "native")
    )
    return fact(own["samples"].shape == native["samples"].shape, "other sizes")


def other_empty(w: Any, node: str, **sizes: int) -> dict:
    ours(w, w.model(), w.one(node, **sizes))
    raise AssertionError("it was taken")


def decoded_to_video(w: Any) -> dict:
    """Wan Decode To Video over a native VAE: the frames of Wan Decode Video and Wan Save Video."""
    import hashlib
    import pathlib

    import folder_paths

    latent, folder = encoded(w, "native"), pathlib.Path(folder_paths.get_output_directory())
    for file in folder.glob("rows/**/*.png"):
        file.unlink()
    options = {"fps": 8.0, "format": "png frames", "quality": 80}
    w.call("WanDirectorDecodeToVideo", vae=w.vae("native"), latent=latent, filename_prefix="rows/direct", **options)
    frames = decoded(w, "ours", "native", latent)
    w.call("WanDirectorSaveVideo", images=frames, filename_prefix="rows/saved", **options)

    def hashes(prefix: str) -> list[str]:
        files = sorted(folder.glob(f"rows/{prefix}*/*.png")) or sorted(folder.glob(f"rows/{prefix}*.png"))
        from PIL import Image

        return [hashlib.sha256(Image.open(file).tobytes()).hexdigest() for file in files]

    one, other = hashes("direct"), hashes("saved")
    return fact(len(one) == 9 and one == other, f"{len(one)} and {len(other)} pictures")


def saved_vae(w: Any) -> dict:
    w.call("VAESave", vae=w.vae("ours"), filename_prefix="rows/vae")
    raise AssertionError("it was taken")


def native_video_decoded(w: Any) -> dict:
    """KSampler's latent by our decoder, against ComfyUI's."""
    latent = natively(w, w.unet())
    return same(decoded(w, "ours", "ours", latent), decoded(w, "native", "native", latent))


def own_video_decoded(w: Any) -> dict:
    """Our sampler's latent by ComfyUI's decoder, against ours."""
    latent = ours(w, w.model())
    return same(decoded(w, "native", "native", latent), decoded(w, "ours", "ours", latent))


def second_pass(w: Any, first: str) -> dict:
    """A video of one sampler made larger and sampled again by the other, against KSampler twice."""

    def larger(latent: dict) -> dict:
        return w.one("LatentUpscaleBy", samples=latent, upscale_method="bilinear", scale_by=1.5)

    start = larger(natively(w, w.unet()))
    expected = natively(w, w.unet(), start, denoise=0.5)["samples"]
    if first == "ours":
        made = natively(w, w.unet(), larger(ours(w, w.model())), denoise=0.5)["samples"]
    else:
        made = ours(w, w.model(), start, denoise=0.5)["samples"]
    return same(made, expected)


def wrong_channels(w: Any) -> dict:
    decoded(w, "ours", "native", {"samples": torch.randn(1, 48, 3, 4, 4)})
    raise AssertionError("it was taken")


_CHANGES = {
    "LatentUpscale": lambda w, a, b: w.one(
        "LatentUpscale", samples=a, upscale_method="bilinear", width=96, height=96, crop="disabled"
    ),
    "LatentUpscaleBy": lambda w, a, b: w.one(
        "LatentUpscaleBy", samples=a, upscale_method="nearest-exact", scale_by=1.5
    ),
    "LatentBatch": lambda w, a, b: w.one("LatentBatch", samples1=a, samples2=b),
    "LatentFromBatch": lambda w, a, b: w.one("LatentFromBatch", samples=a, batch_index=0, length=1),
    "RepeatLatentBatch": lambda w, a, b: w.one("RepeatLatentBatch", samples=a, amount=2),
    "LatentBlend": lambda w, a, b: w.one("LatentBlend", samples1=a, samples2=b, blend_factor=0.3, blend_mode="normal"),
    "LatentAdd": lambda w, a, b: w.one("LatentAdd", samples1=a, samples2=b),
    "LatentSubtract": lambda w, a, b: w.one("LatentSubtract", samples1=a, samples2=b),
    "LatentMultiply": lambda w, a, b: w.one("LatentMultiply", samples=a, multiplier=0.5),
    "LatentInterpolate": lambda w, a, b: w.one("LatentInterpolate", samples1=a, samples2=b, ratio=0.4),
    "LatentFlip": lambda w, a, b: w.one("LatentFlip", samples=a, flip_method="x-axis: vertically"),
    "LatentCrop": lambda w, a, b: w.one("LatentCrop", samples=a, width=32, height=32, x=16, y=16),
    "LatentConcat": lambda w, a, b: w.one("LatentConcat", samples1=a, samples2=b, dim="t"),
    "LatentCut": lambda w, a, b: w.one("LatentCut", samples=a, dim="t", index=0, amount=2),
    "TrimVideoLatent": lambda w, a, b: w.one("TrimVideoLatent", samples=a, trim_amount=1),
    "ReplaceVideoLatentFrames": lambda w, a, b: w.one("ReplaceVideoLatentFrames", destination=a, source=b, index=0),
    "SaveLatent and LoadLatent": saved,
}
_IN_BOTH = {
    "SetLatentNoiseMask": lambda w, a, b: w.one("SetLatentNoiseMask", samples=a, mask=mask_of_half()),
    "LatentBatchSeedBehavior": lambda w, a, b: w.one(
        "LatentBatchSeedBehavior", samples=w.one("LatentBatch", samples1=a, samples2=b), seed_behavior="fixed"
    ),
    "LatentFromBatch": lambda w, a, b: w.one(
        "LatentFromBatch", samples=w.one("LatentBatch", samples1=a, samples2=b), batch_index=1, length=1
    ),
    "RepeatLatentBatch": lambda w, a, b: w.one("RepeatLatentBatch", samples=a, amount=2),
}

ROWS = {
    "VAEDecode on our VAE": Row(partial(decode, node="native", vae="ours"), DECODED),
    "Wan Decode Video on our VAE": Row(partial(decode, node="ours", vae="ours"), DECODED),
    "Wan Decode Video on a native VAE": Row(partial(decode, node="ours", vae="native")),
    "VAEEncode on our VAE": Row(partial(encode, node="native", vae="ours"), ENCODED),
    "Wan Encode Video on our VAE": Row(partial(encode, node="ours", vae="ours"), ENCODED),
    "Wan Encode Video on a native VAE": Row(partial(encode, node="ours", vae="native")),
    "VAEEncode of odd sizes on our VAE": Row(odd_encode, ENCODED),
    "VAEDecodeTiled on our VAE": Row(
        partial(tiled, node="VAEDecodeTiled", tile_size=64, overlap=16, temporal_size=64, temporal_overlap=8), DECODED
    ),
    "VAEEncodeTiled on our VAE": Row(
        partial(tiled, node="VAEEncodeTiled", tile_size=64, overlap=16, temporal_size=64, temporal_overlap=8), ENCODED
    ),
    "VAEEncodeForInpaint on our VAE": Row(inpaint, ENCODED),
    "InpaintModelConditioning into Wan Sampler": Row(
        inpaint_conditioning, words=("text-to-video model", "remove the image")
    ),
    "VAESave of our VAE": Row(saved_vae, words=("get_sd", "Load VAE")),
    "Wan Decode To Video on a native VAE": Row(decoded_to_video),
    "Wan Empty Latent and EmptyHunyuanLatentVideo in both samplers": Row(empties),
    "Wan Empty Latent on a native VAE": Row(empty_over_native_vae),
    "EmptyLatentImage into Wan Sampler": Row(
        partial(other_empty, node="EmptyLatentImage", width=64, height=64, batch_size=1), words=("5 dimensions",)
    ),
    "EmptyMochiLatentVideo into Wan Sampler": Row(
        partial(other_empty, node="EmptyMochiLatentVideo", width=64, height=64, length=7, batch_size=1),
        words=("12 channels",),
    ),
    "KSampler's LATENT into Wan Decode Video": Row(native_video_decoded, DECODED),
    "Wan Sampler's LATENT into VAEDecode": Row(own_video_decoded, DECODED),
    "Wan Sampler, LatentUpscaleBy, KSampler": Row(partial(second_pass, first="ours"), PARITY),
    "KSampler, LatentUpscaleBy, Wan Sampler": Row(partial(second_pass, first="native"), PARITY),
    "a LATENT of another VAE into Wan Decode Video": Row(wrong_channels, words=("48 channels", "wan2.2_vae")),
    **{
        f"{name} between both VAEs": Row(partial(through, change=change), DECODED, needs=() if " " in name else (name,))
        for name, change in _CHANGES.items()
    },
    **{
        f"{name} into both samplers": Row(partial(sampled_through, change=change), PARITY)
        for name, change in _IN_BOTH.items()
    },
}
