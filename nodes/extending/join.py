"""The node that makes one clip of two."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...common.checking import choice_of, has_values
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...media.colours import UNCHANGED, ColourShift, match_to, mean_shift
from ...media.joining import BLENDS, check_clips, join_clips
from ...media.pictures import clean_clip
from ..api import io, one_sentence
from .extend import overlap_input

OFF, MEAN, FIRST_CLIP = COLOURS = ("off", "mean", "first clip")


class WanDirectorJoin(io.ComfyNode):
    """Two clips that show some frames twice as one."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorJoin",
            display_name="Wan Join Clips",
            category="Wan Director/video",
            description="Makes one clip of two. Frames that both show, as of Wan Extend Video, are cross-faded, or "
            "taken from one of them.",
            search_aliases=[
                "join clips", "concatenate videos", "merge videos", "cross-fade", "crossfade", "append frames",
                "ImageBatch", "ImageBatchExtendWithOverlap", "color match", "wan join clips",
            ],
            inputs=[
                io.Image.Input("clip_a", tooltip="The clip so far."),
                io.Image.Input("clip_b", tooltip="The clip that goes on from it, of the same size."),
                overlap_input(
                    "How many of the last frames of clip_a are also the first of clip_b: the overlap of Wan Extend "
                    "Video. 0 puts one clip behind the other.",
                    smallest=0,
                    step=1,
                ),
                io.Combo.Input(
                    "blend",
                    options=list(BLENDS),
                    default=BLENDS[0],
                    tooltip="What becomes of the frames that both show: a linear cross-fade, or a cut to those of one "
                    "clip.",
                ),
                io.Combo.Input(
                    "colours",
                    options=list(COLOURS),
                    default=OFF,
                    tooltip="Of clip_b. off: as they are. mean: its mean colour is shifted to that of clip_a in the "
                    "frames that both show; over many joints this adds drift. first clip: each channel gets mean and "
                    "contrast of the reference, which holds the colours of a scene that stays.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="For colours first clip: the very first clip of the video, the same for all joints.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="Both clips as one.")],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(cls, clip_a: Any, clip_b: Any, overlap: int, blend: str, colours: str, reference: Any = None) -> Any:
        a, b = clean_clip(clip_a, "clip_a"), clean_clip(clip_b, "clip_b")
        check_clips(a, b, overlap)
        shift = _colours(choice_of(colours, COLOURS, "colours"), a, b, overlap, reference)
        return io.NodeOutput(join_clips(a, b, overlap, choice_of(blend, BLENDS, "blend"), shift))


def _colours(choice: str, a: Tensor, b: Tensor, overlap: int, reference: Any) -> ColourShift:
    """What happens to the colours of b.

    Raises:
        InvalidInputError: what the choice goes by is missing.
    """
    if choice != FIRST_CLIP and reference is not None:
        logger.info("A reference is connected to Wan Join Clips; with colours %s it is not used.", choice)
    if choice == MEAN:
        if not overlap:
            raise InvalidInputError(
                "colours 'mean' goes by the frames that both clips show, and with an overlap of 0 there are none. Use "
                "'off', or 'first clip' with a reference."
            )
        return mean_shift(a[-overlap:], b[:overlap]) if has_values(b) else UNCHANGED
    if choice == FIRST_CLIP:
        if reference is None:
            raise InvalidInputError(
                "colours 'first clip' needs a reference, and none is connected. Connect the first clip of the video, "
                "or use 'off'."
            )
        first = clean_clip(reference, "reference")
        return match_to(first, b) if has_values(b) else UNCHANGED
    return UNCHANGED
