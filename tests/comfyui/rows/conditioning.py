"""Nodes that prepare a Wan video, and what they give each sampler."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from measure import Row, same, worst
from runs import PARITY, SIZE, clip_of, natively, ours, picture, sides

GIVEN = 5e-6
"""Of given frames that were encoded, see docs/exactness.md."""


def features(w: Any, side: str) -> Any:
    return w.one("CLIPVisionEncode", clip_vision=w.clip_vision(side), image=clip_of(1, 28), crop="center")


def given(w: Any, side: str, node: str, **more: Any) -> tuple[dict, dict[str, list]]:
    """The LATENT and both sides of the conditioning that a node makes with the VAE of one side."""
    start = {} if "start_image" in more or node in _WITHOUT_START else {"start_image": picture()}
    made = w.call(node, vae=w.vae(side), **SIZE, **sides(w), **start, **more)
    return made[2], {"positive": made[0], "negative": made[1]}


_WITHOUT_START = frozenset({"WanVaceToVideo", "WanAnimateToVideo", "WanSoundImageToVideo"})


def four_ways(w: Any, model: str, node: str, **more: Any) -> dict:
    """A native node over our VAE and over ComfyUI's, in our sampler and in KSampler; against ComfyUI alone."""
    if more.pop("looks", False):
        more["clip_vision_output"] = features(w, "ours")
    results = []
    for side in ("native", "ours"):
        latent, values = given(w, side, node, **more)
        results.append(natively(w, w.unet(model), latent, **values)["samples"])
        results.append(ours(w, w.model(model), latent, **values)["samples"])
    return worst(*(same(result, results[0]) for result in results[1:]))


def own_node(w: Any, model: str, node: str, own: str, native: dict, mine: dict) -> dict:
    """What our node prepares, in both samplers; against ComfyUI's node in KSampler."""
    latent, values = given(w, "native", node, **native)
    expected = natively(w, w.unet(model), latent, **values)["samples"]
    size = {"width": 64, "height": 64, "frames": 9, "batch_size": 1}
    made = w.call(own, vae=w.vae("native"), **size, **sides(w), **mine)
    values = {"positive": made[0], "negative": made[1]}
    return worst(
        same(natively(w, w.unet(model), made[2], **values)["samples"], expected),
        same(ours(w, w.model(model), made[2], **values)["samples"], expected),
    )


def subjects(w: Any) -> dict:
    """Pictures behind the video, of a native node over either VAE, in either sampler."""
    results = []
    for side in ("native", "ours"):
        made = w.call("WanPhantomSubjectToVideo", vae=w.vae(side), **SIZE, **sides(w), images=picture())
        values = {"positive": made[0], "negative": made[1]}
        results.append(natively(w, w.unet("t2v"), made[3], **values)["samples"])
        results.append(ours(w, w.model("t2v"), made[3], **values)["samples"])
    return worst(*(same(result, results[0]) for result in results[1:]))


def exactly(count: int = 1) -> torch.Tensor:
    """Pictures that are of the video's size: what is not, ComfyUI and the official code resize in other ways."""
    return clip_of(9, 64)[:count]


def vace_trim(w: Any) -> dict:
    """References of Wan VACE cut off by ComfyUI's node, and by our decoder by itself."""
    size = {"width": 64, "height": 64, "frames": 9, "batch_size": 1}
    made = w.call("WanDirectorVace", vae=w.vae("ours"), **size, **sides(w), strength=1.0, reference_image=exactly())
    latent = ours(w, w.model("vace"), made[2], positive=made[0], negative=made[1])
    trimmed = w.one("TrimVideoLatent", samples=latent, trim_amount=made[3])
    return same(
        w.one("WanDirectorDecode", vae=w.vae("ours"), latent=latent),
        w.one("VAEDecode", vae=w.vae("native"), samples=trimmed),
    )


def start_in_latent(w: Any) -> dict:
    """TI2V-5B: a start picture in the LATENT, by the native node over our VAE, in both samplers."""
    vae = w.vae("ours", "wan22_vae")
    latent = w.one("Wan22ImageToVideoLatent", vae=vae, **SIZE, start_image=picture())
    return same(ours(w, w.model("ti2v"), latent)["samples"], natively(w, w.unet("ti2v"), latent)["samples"])


def refused(w: Any, model: str, make: Any) -> dict:
    made = make(w)
    ours(w, w.model(model), made[2], positive=made[0], negative=made[1])
    raise AssertionError("it was taken")


def native_only(node: str, **more: Any) -> Any:
    return lambda w: w.call(node, vae=w.vae("ours"), **SIZE, **sides(w), **{k: v() for k, v in more.items()})


def mask() -> torch.Tensor:
    found = torch.zeros(9, 64, 64)
    found[:, :, 32:] = 1.0
    return found


_FOUR = {
    "WanImageToVideo": ("i2v_high", "WanImageToVideo", {}),
    "WanImageToVideo with CLIP vision": ("i2v", "WanImageToVideo", {"looks": True}),
    "WanImageToVideo of a clip": ("i2v_high", "WanImageToVideo", {"start_image": exactly(5)}),
    "WanFirstLastFrameToVideo": ("i2v_high", "WanFirstLastFrameToVideo", {"end_image": picture()}),
    "WanFunInpaintToVideo": ("i2v_high", "WanFunInpaintToVideo", {"end_image": picture()}),
    "WanTrackToVideo": (
        "i2v_high",
        "WanTrackToVideo",
        {"temperature": 220.0, "topk": 2, "tracks": '[[{"x": 10, "y": 10}, {"x": 40, "y": 40}]]'},
    ),
    "WanVaceToVideo": ("vace", "WanVaceToVideo", {"control_video": clip_of(), "control_masks": mask()}),
    "WanVaceToVideo with a reference": ("vace", "WanVaceToVideo", {"reference_image": picture(), "strength": 0.8}),
}
_REFUSED = {
    "WanFunControlToVideo": ("i2v_high", native_only("WanFunControlToVideo", control_video=clip_of), ("32 channels",)),
    "Wan22FunControlToVideo": (
        "i2v_high", native_only("Wan22FunControlToVideo", ref_image=picture, control_video=clip_of),
        ("concat_mask_index",),
    ),
    "WanCameraImageToVideo": (
        "i2v_high",
        lambda w: w.call(
            "WanCameraImageToVideo", vae=w.vae("ours"), **SIZE, **sides(w), start_image=picture(),
            camera_conditions=torch.zeros(1, 24, 3, 64, 64),
        ),
        ("camera_conditions",),
    ),
    "WanSoundImageToVideo": ("t2v", native_only("WanSoundImageToVideo", ref_image=picture), ("reference_latents",)),
    "WanHuMoImageToVideo": ("t2v", native_only("WanHuMoImageToVideo", ref_image=picture), ("reference_latents",)),
    "WanAnimateToVideo": (
        "i2v_high", native_only("WanAnimateToVideo", reference_image=picture, pose_video=clip_of),
        ("pose_video_latent",),
    ),
}  # fmt: skip

ROWS = {
    **{
        f"{name}: both VAEs, both samplers": Row(partial(four_ways, model=model, node=node, **more), PARITY)
        for name, (model, node, more) in _FOUR.items()
    },
    "Wan Image To Video into KSampler": Row(
        partial(
            own_node, model="i2v_high", node="WanImageToVideo", own="WanDirectorImageToVideo",
            native={"start_image": exactly()}, mine={"fit": "crop", "start_image": exactly()},
        ),
        PARITY,
    ),
    "Wan Image To Video with an end into KSampler": Row(
        partial(
            own_node, model="i2v_high", node="WanFirstLastFrameToVideo", own="WanDirectorImageToVideo",
            native={"start_image": exactly(), "end_image": exactly(2)[1:]},
            mine={"fit": "crop", "start_image": exactly(), "end_image": exactly(2)[1:]},
        ),
        PARITY,
    ),
    "Wan VACE into KSampler": Row(
        partial(
            own_node, model="vace", node="WanVaceToVideo", own="WanDirectorVace",
            native={"control_video": clip_of(), "control_masks": mask(), "strength": 1.0},
            mine={"control_video": clip_of(), "control_masks": mask(), "strength": 1.0},
        ),
        PARITY,
    ),
    "WanPhantomSubjectToVideo: both VAEs, both samplers": Row(subjects, PARITY, needs=("WanPhantomSubjectToVideo",)),
    "Wan VACE and TrimVideoLatent": Row(vace_trim, 1e-5),
    "Wan22ImageToVideoLatent into both samplers": Row(start_in_latent, PARITY),
    **{
        f"{name} into Wan Sampler": Row(partial(refused, model=model, make=make), words=words, needs=(name,))
        for name, (model, make, words) in _REFUSED.items()
    },
}  # fmt: skip
