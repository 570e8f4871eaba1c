"""The node that brings the colours of a clip to those of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...common.checking import check_number, choice_of, has_values
from ...common.memory.free_ram import require_ram
from ...engine.progress import Counted
from ...engine.runtime import counting
from ...media.colours import COLOUR_METHODS, ColourMap, check_strength, colour_map
from ...media.pictures import clean_clip
from ..api import io, one_sentence
from ..hosts.host import host

WHOLE_CLIP, EACH_FRAME = SCOPES = ("whole clip", "each frame")


class WanDirectorMatchColour(io.ComfyNode):
    """A clip in the colours of another."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorMatchColour",
            display_name="Wan Match Colour",
            category="Wan Director/video",
            description="Brings the colours of a clip to those of a reference: of the source after video to video, of "
            "the first clip after an extension, of a picture whose mood you like.",
            search_aliases=[
                "color match", "color transfer", "ColorTransfer", "color correction", "colour drift", "reinhard",
                "histogram matching", "ColorMatch",
            ],
            inputs=[
                io.Image.Input("images", tooltip="The frames to change."),
                io.Image.Input("reference", tooltip="A picture or clip of any size with the colours that are wanted."),
                io.Combo.Input(
                    "method",
                    options=list(COLOUR_METHODS),
                    default=COLOUR_METHODS[0],
                    tooltip="reinhard_lab: mean and deviation of lightness and colours, which keeps them natural. "
                    "mean_std_rgb: those of red, green and blue. histogram: as many pixels of every level as in the "
                    "reference, the strongest.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the way: 0 leaves the frames as they are, to the bit.",
                ),
                io.Combo.Input(
                    "measured",
                    options=list(SCOPES),
                    default=SCOPES[0],
                    tooltip="whole clip: one change for all frames, which cannot flicker. each frame: a change of its "
                    "own for each, which evens out colours that drift or flicker.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The frames in the new colours.")],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(cls, images: Any, reference: Any, method: str, strength: float, measured: str) -> Any:
        clip, wanted = clean_clip(images, "images"), clean_clip(reference, "reference")
        chosen, scope = choice_of(method, COLOUR_METHODS, "method"), choice_of(measured, SCOPES, "scope (measured)")
        check_number(strength, "strength")
        check_strength(strength)
        if strength == 0:
            return io.NodeOutput(images if images.shape[-1] == 3 else clip)
        if not (has_values(clip) and has_values(wanted)):
            return io.NodeOutput(clip)
        find = colour_map(chosen, wanted, strength)
        return io.NodeOutput(_matched(clip, find, each_frame=scope == EACH_FRAME))


def _matched(clip: Tensor, find: Callable[[Tensor], ColourMap], *, each_frame: bool) -> Tensor:
    """A clip [F, H, W, 3] in the colours that are found for it; beside it and the result a frame is in memory."""
    frames, height, width = clip.shape[:3]
    what = f"The {frames} frames of {width} x {height} pixels in new colours"
    require_ram(clip.nbytes, what, "Change them in parts, or make them smaller.")
    matched = torch.empty_like(clip, memory_format=torch.contiguous_format)
    whole = None if each_frame else find(clip)
    with host().runtime.progress(Counted("Matching colours", "frame", frames)) as progress:
        each = counting(progress, host().runtime.check_interrupt)
        for index, frame in enumerate(clip):
            each()
            matched[index] = (whole or find(frame[None])).of(frame)
    return matched
