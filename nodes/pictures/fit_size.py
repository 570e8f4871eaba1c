"""The node that finds the size of a video for a picture."""

from __future__ import annotations

import math
from typing import Any

from ...common.checking import check_number, choice_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import MAX_SIDE, PictureSize, check_size, nearest_size_of_area, size_of_area
from ...media.pictures import FITS, clean_clip, cut_share, fit_pictures
from ..api import io, one_sentence
from ..image import CATEGORY
from ..sockets.latents import family_of

MEGAPIXELS = "megapixels"
OFFICIAL_SIZES = {
    "480p (832 x 480)": PictureSize(832, 480),
    "720p (1280 x 720)": PictureSize(1280, 720),
    "720p of TI2V-5B (1280 x 704)": PictureSize(1280, 704),
}
AREAS = (*OFFICIAL_SIZES, MEGAPIXELS)
KEEP_SHAPE, NEVER_ENLARGE, OFFICIAL = WAYS = ("keep shape", "keep shape, never enlarge", "official size")
MEGAPIXEL = 1024 * 1024
"""As ComfyUI counts it."""
USUAL_MULTIPLE = 16


class WanDirectorFitSize(io.ComfyNode):
    """Width and height of a video in the shape of a picture, and the picture in that size."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorFitSize",
            display_name="Wan Fit Size",
            category=CATEGORY,
            description="Finds width and height of a video in the shape of your picture, with the area that the model "
            "was trained on, and brings the picture to that size.",
            search_aliases=[
                "aspect ratio", "ImageScaleToTotalPixels", "resize image", "resolution", "image size", "megapixels",
                "WanVideoImageResizeToClosest",
            ],
            inputs=[
                io.Image.Input("image", tooltip="A picture or a clip of any size."),
                io.Combo.Input(
                    "area",
                    options=list(AREAS),
                    default=AREAS[0],
                    tooltip="How many pixels a frame of the video has, as many as an official size, or by megapixels.",
                ),
                io.Float.Input(
                    "megapixels",
                    default=0.4,
                    min=0.001,
                    max=16.0,
                    step=0.001,
                    tooltip="With area megapixels: 1 is 1024 x 1024 pixels.",
                ),
                io.Combo.Input(
                    "how",
                    options=list(WAYS),
                    default=KEEP_SHAPE,
                    tooltip="keep shape: as long or as upright as the picture, by the rule of Wan's own scripts. never "
                    "enlarge: with no more pixels than the picture has. official size: that of area, lying or upright.",
                ),
                io.Int.Input(
                    "multiple",
                    default=USUAL_MULTIPLE,
                    min=16,
                    max=128,
                    step=16,
                    tooltip="Both sides are multiples of it: 16, or 32 for TI2V-5B. A connected vae's is kept, too.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How the picture comes to that size where its shape is a little another one: crop cuts off "
                    "what stands over (centred), pad adds black bars, stretch distorts.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="The VAE of the video: its sides' multiple counts, too."),
            ],
            outputs=[
                io.Int.Output(display_name="width", tooltip="Width of the video, for Wan Image To Video."),
                io.Int.Output(display_name="height", tooltip="Height of the video, for Wan Image To Video."),
                io.Image.Output(display_name="IMAGE", tooltip="The picture or clip in this size."),
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls, image: Any, area: str, megapixels: float, how: str, multiple: int, fit: str, vae: Any = None
    ) -> Any:
        pictures, fitting = clean_clip(image, "image"), choice_of(fit, FITS, "fit")
        have = PictureSize(pictures.shape[2], pictures.shape[1])
        multiple = _multiple(multiple, vae)
        if choice_of(how, WAYS, "way (how)") == OFFICIAL:
            size = _official(have, choice_of(area, AREAS, "area"), multiple)
        else:
            most = have.width * have.height if how == NEVER_ENLARGE else None
            size = _in_shape(have, _pixels(choice_of(area, AREAS, "area"), megapixels), multiple, most)
        cut = 100 * cut_share(have, size) if fitting == "crop" else 0.0
        words = f"; {cut:.1f} % of it are cut off" if cut else ""
        logger.info("Wan Fit Size: %d x %d for a picture of %d x %d%s.", *size, *have, words)
        return io.NodeOutput(*size, fit_pictures(pictures, *size, fitting))


def _multiple(multiple: int, vae: Any) -> int:
    check_number(multiple, "multiple")
    if not 1 <= multiple <= MAX_SIDE or multiple % USUAL_MULTIPLE:
        raise InvalidInputError(f"multiple must be 16, 32, 48, ..., got {multiple}. Use 16, or 32 for TI2V-5B.")
    return multiple if vae is None else math.lcm(multiple, family_of(vae).size_multiple)


def _pixels(area: str, megapixels: float) -> int:
    """How many pixels a frame may have."""
    if area != MEGAPIXELS:
        return OFFICIAL_SIZES[area].width * OFFICIAL_SIZES[area].height
    check_number(megapixels, "megapixels")
    if not 0 < megapixels <= 64:
        raise InvalidInputError(f"megapixels must be above 0 and at most 64, got {megapixels}. Use 0.4 for 480p.")
    return int(megapixels * MEGAPIXEL)


def _in_shape(picture: PictureSize, pixels: int, multiple: int, most: int | None) -> PictureSize:
    pixels = pixels if most is None else min(pixels, most)
    rule = size_of_area if multiple == USUAL_MULTIPLE else nearest_size_of_area
    return rule(picture, pixels, multiple)


def _official(picture: PictureSize, area: str, multiple: int) -> PictureSize:
    """The official size of an area, upright for an upright picture."""
    if area == MEGAPIXELS:
        raise InvalidInputError(
            "how 'official size' needs an official area, got 'megapixels'. Choose one, or 'keep shape'."
        )
    lying = OFFICIAL_SIZES[area]
    size = PictureSize(*reversed(lying)) if picture.height > picture.width else lying
    check_size(*size, multiple)
    return size
