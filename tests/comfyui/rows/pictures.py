"""IMAGE and MASK: pictures of one side in the nodes of the other."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from measure import Row, fact, same
from runs import clip_of, sides

ENCODED, DECODED = 5e-6, 1e-5


def frames(w: Any, side: str) -> torch.Tensor:
    """The frames of a latent, by our decoder or by ComfyUI's."""
    latent = w.one("VAEEncode", vae=w.vae("native"), pixels=clip_of())
    if side == "ours":
        return w.one("WanDirectorDecode", vae=w.vae("ours"), latent=latent)
    return w.one("VAEDecode", vae=w.vae("native"), samples=latent)


def on_to_encoding(w: Any, change: Any) -> dict:
    """Our decoder's frames through a node into our encoder; against ComfyUI alone."""
    own = w.one("WanDirectorEncode", vae=w.vae("ours"), images=change(w, frames(w, "ours")))
    native = w.one("VAEEncode", vae=w.vae("native"), pixels=change(w, frames(w, "native")))
    return same(own["samples"], native["samples"])


def unfit(w: Any, change: Any) -> dict:
    w.one("WanDirectorEncode", vae=w.vae("ours"), images=change(w, frames(w, "ours")))
    raise AssertionError("it was taken")


def load_image(w: Any) -> dict:
    """Load Image's picture and mask in Wan VACE, as in WanVaceToVideo."""
    image, mask = w.call("LoadImage", image="picture.png")[:2]
    shared = {**sides(w), "vae": w.vae("ours"), "width": 64, "height": 64, "batch_size": 1, "strength": 1.0}
    shared |= {"control_video": image, "control_masks": mask}
    own, native = w.call("WanDirectorVace", frames=9, **shared), w.call("WanVaceToVideo", length=9, **shared)
    return same(own[0][0][1]["vace_mask"][0], native[0][0][1]["vace_mask"][0])


def shown(w: Any, node: str) -> dict:
    """A node that saves or shows pictures takes the frames of our decoder."""
    made = w._classes[node]().save_images(frames(w, "ours"))
    return fact(len(made["ui"]["images"]) == 9, f"{len(made['ui']['images'])} pictures")


_CHANGES = {
    "ImageFromBatch": lambda w, images: w.one("ImageFromBatch", image=images, batch_index=2, length=5),
    "ImageScale": lambda w, images: w.one(
        "ImageScale", image=images, upscale_method="bilinear", width=96, height=64, crop="center"
    ),
    "ImageScaleBy": lambda w, images: w.one("ImageScaleBy", image=images, upscale_method="bilinear", scale_by=1.5),
    "ImageCrop": lambda w, images: w.one("ImageCrop", image=images, width=32, height=32, x=16, y=16),
    "ImageInvert": lambda w, images: w.one("ImageInvert", image=images),
    "ImageBlend": lambda w, images: w.one(
        "ImageBlend", image1=images, image2=images.flip(0), blend_factor=0.5, blend_mode="normal"
    ),
    "ImageBatch": lambda w, images: w.one("ImageBatch", image1=images, image2=images)[:17],
    "RepeatImageBatch": lambda w, images: w.one("RepeatImageBatch", image=images[:1], amount=5),
}

ROWS = {
    **{
        f"Wan Decode Video, {name}, Wan Encode Video": Row(
            partial(on_to_encoding, change=change), DECODED, needs=(name,)
        )
        for name, change in _CHANGES.items()
    },
    "ImageFromBatch of 4 frames into Wan Encode Video": Row(
        partial(unfit, change=lambda w, images: w.one("ImageFromBatch", image=images, batch_index=0, length=4)),
        words=("1 + 4k frames", "got 4"),
    ),
    "ImageScale to odd sides into Wan Encode Video": Row(
        partial(
            unfit,
            change=lambda w, images: w.one(
                "ImageScale", image=images, upscale_method="bilinear", width=70, height=64, crop="disabled"
            ),
        ),
        words=("70", "16"),
    ),
    "LoadImage's IMAGE and MASK into Wan VACE": Row(load_image),
    "Wan Decode Video into PreviewImage": Row(partial(shown, node="PreviewImage")),
    "Wan Decode Video into SaveImage": Row(partial(shown, node="SaveImage")),
}
