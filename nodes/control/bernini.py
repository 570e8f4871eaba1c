"""The node that prepares a video for Bernini-R, which edits by instruction and shows what references show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...common.checking import check_number, choice_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import MAX_SIDE, TEMPORAL_STRIDE, VideoShape, check_bounds
from ...dit.conditioning.in_context import TRAINED_SOURCES, source_ids
from ...media.pictures import FITS, Fit, clean_clip, fit_pictures
from ..api import ADVANCED, io, one_sentence
from ..conditioning.in_context import ClipRole, with_clips
from ..image import CATEGORY, batch_input, size_inputs
from ..pictures.sockets import picture_inputs, pictures_of
from ..sockets.latents import check_video_size, check_wan_2_1, empty_latent

MOST_PICTURES = 8
SOCKETS = 4
LONGEST_SIDE = 848
_MULTIPLE = 16


class WanDirectorBernini(io.ComfyNode):
    """The conditioning and latent of a video for Bernini-R."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorBernini",
            display_name="Wan Bernini Conditioning",
            category=CATEGORY,
            description="Prepares a video for Bernini-R: an edit of a source video by the words of the prompt, or a "
            "video of what references show, or both. With frames 1 it edits a picture.",
            search_aliases=[
                "bernini", "BerniniConditioning", "edit video", "instruction", "video to video", "reference to video",
                "in context", "subject", "wan bernini conditioning",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded instruction, behind a sentence for the task."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE, which encodes the pictures and will decode the video."),
                *size_inputs(),
                batch_input(),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How a source of another shape comes to the video's size: crop cuts off what stands over "
                    "(centred), pad adds black bars, stretch distorts.",
                ),
                io.Int.Input(
                    "reference_max_size",
                    default=LONGEST_SIDE,
                    min=_MULTIPLE,
                    max=MAX_SIDE,
                    step=_MULTIPLE,
                    tooltip="The longer side of references is made no longer than this, in multiples of 16. Smaller is "
                    "quicker.",
                    **ADVANCED,
                ),
                io.Image.Input(
                    "source_video",
                    optional=True,
                    tooltip="The video to edit, or one picture. It comes to the video's size; frames beyond its end "
                    "are left out.",
                ),
                io.Image.Input(
                    "reference_video", optional=True, tooltip="A video of what is to be put into the source video."
                ),
                *picture_inputs(
                    SOCKETS,
                    "Who or what the video shows, in its own shape. A batch is several pictures; no more than 8 in "
                    "all.",
                    "One more reference, of any shape, or a batch of several.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with all that is given."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this size, for the Wan Sampler."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        check_video_size(width, height, frames)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        frames: int,
        batch_size: int,
        fit: str,
        reference_max_size: int,
        source_video: Any = None,
        reference_video: Any = None,
        reference_image_1: Any = None,
        reference_image_2: Any = None,
        reference_image_3: Any = None,
        reference_image_4: Any = None,
    ) -> Any:
        latent = empty_latent(vae, width, height, frames, batch_size)
        piles = (reference_image_1, reference_image_2, reference_image_3, reference_image_4)
        source = _source(source_video, VideoShape(frames, height, width), choice_of(fit, FITS, "fit"))
        clips = [*source, *references(reference_video, piles, frames, reference_max_size)]
        _check_given(clips, vae)
        latents = [vae.encode(clip) for clip in clips]
        roles = [ClipRole(own, number < len(source)) for number, own in enumerate(source_ids(len(clips)))]
        return io.NodeOutput(*(with_clips(vae, side, latents, roles) for side in (positive, negative)), latent)


def references(video: Any, piles: tuple[Any, ...], frames: int, longest: int) -> list[Tensor]:
    """The clips [F, H, W, 3] of a reference video and of each picture, in their own shapes.

    Raises:
        InvalidInputError: they are no pictures, or too many.
    """
    check_number(longest, "reference_max_size")
    if longest < _MULTIPLE:
        raise InvalidInputError(f"reference_max_size must be at least {_MULTIPLE}, got {longest}. Usual is 848.")
    pictures = pictures_of(piles)
    if len(pictures) > MOST_PICTURES:
        raise InvalidInputError(
            f"There are {len(pictures)} reference pictures, and Bernini-R takes at most {MOST_PICTURES}. Leave some "
            "out."
        )
    videos = [] if video is None else [_whole(clean_clip(video, "reference_video"), "reference_video", frames)]
    found = [_in_own_shape(clip, longest) for clip in (*videos, *pictures)]
    if len(found) > TRAINED_SOURCES:
        logger.info(
            "%d references: Bernini-R was trained with %d, and more are told apart less well.",
            len(found), TRAINED_SOURCES,
        )  # fmt: skip
    return found


def _source(video: Any, shape: VideoShape, fit: Fit) -> list[Tensor]:
    """The source video as one clip of the video's size; nothing where there is none."""
    if video is None:
        return []
    clip = _whole(clean_clip(video, "source_video"), "source_video", shape.frames)
    if 1 < len(clip) < shape.frames:
        logger.info(
            "source_video has %d frames, and the video to make %d: what comes after them is made freely.",
            len(clip), shape.frames,
        )  # fmt: skip
    return [fit_pictures(clip, shape.width, shape.height, fit)]


def _whole(clip: Tensor, name: str, frames: int) -> Tensor:
    """At most so many frames, in whole latent frames: the last picture stands still to the end of its own."""
    if len(clip) > frames:
        logger.info("%s has %d frames; the first %d are used.", name, len(clip), frames)
    clip = clip[:frames]
    return torch.cat([clip, clip[-1:].expand(-(len(clip) - 1) % TEMPORAL_STRIDE, -1, -1, -1)])


def _in_own_shape(clip: Tensor, longest: int) -> Tensor:
    """A clip [F, H, W, 3] with its longer side no longer than this, and sides that are multiples of 16."""
    sides = clip.shape[1:3]
    factor = min(longest / max(sides), 1.0)
    height, width = (max(_MULTIPLE, round(side * factor / _MULTIPLE) * _MULTIPLE) for side in sides)
    check_bounds(width, height, len(clip))
    return fit_pictures(clip, width, height, "stretch")


def _check_given(clips: Sequence[Tensor], vae: Any) -> None:
    """Refuses nothing at all, and the VAE of TI2V-5B, for which there is no Bernini-R."""
    if not clips:
        raise InvalidInputError(
            "Nothing is given. Connect source_video, reference_video or a reference_image, or use Wan Empty Latent."
        )
    check_wan_2_1(vae, "Bernini-R")
