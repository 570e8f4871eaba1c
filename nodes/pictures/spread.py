"""The node that puts several pictures at frames of a video."""

from __future__ import annotations

from typing import Any

from ...common.checking import check_number, check_string
from ...common.errors import InvalidInputError
from ...common.shapes import MAX_FRAMES
from ...media.pictures import clean_clip
from ..api import io, one_sentence
from ..conditioning.keyframes import Keyframe
from ..image import CATEGORY, Keyframes
from ..sockets.latents import check_video_size
from .spreading import read_places, spread_evenly


class WanDirectorSpreadKeyframes(io.ComfyNode):
    """Several pictures as keyframes of a video."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorSpreadKeyframes",
            display_name="Wan Spread Keyframes",
            category=CATEGORY,
            description="Spreads pictures over a video, the first at its first frame and the last at its last, or puts "
            "them where you say. The model makes what lies between.",
            search_aliases=["interpolate", "keyframes", "in-between", "storyboard", "multi frame", "FILM VFI"],
            inputs=[
                io.Image.Input("images", tooltip="The pictures, in their order; a batch, as of Batch Images."),
                io.Int.Input(
                    "frames",
                    default=81,
                    min=1,
                    max=MAX_FRAMES,
                    step=4,
                    tooltip="Length of the video: 1 + 4k frames, as in Wan Image To Video.",
                ),
                io.String.Input(
                    "places",
                    default="",
                    tooltip="Where each picture stands: frames (0, 24, 80), seconds (1.5s) or parts of the clip (50%, "
                    "100% is the last frame). Empty spreads them evenly.",
                ),
                io.Float.Input(
                    "fps",
                    default=16.0,
                    min=1.0,
                    max=120.0,
                    step=1.0,
                    tooltip="Frames per second by which seconds in places count: 16 for Wan, 24 for TI2V-5B, 8 for the "
                    "bundled model.",
                ),
                Keyframes.Input("keyframes", optional=True, tooltip="Keyframes to add these to."),
            ],
            outputs=[
                Keyframes.Output(display_name="keyframes", tooltip="All keyframes so far, for Wan Image To Video."),
                io.Int.Output(display_name="frames", tooltip="Length of the video, for Wan Image To Video."),
            ],
        )

    @classmethod
    def validate_inputs(cls, frames: int | None = None) -> bool:
        check_video_size(None, None, frames)
        return True

    @classmethod
    @one_sentence
    def execute(cls, images: Any, frames: int, places: str, fps: float, keyframes: tuple[Keyframe, ...] = ()) -> Any:
        pictures = clean_clip(images, "images")
        check_video_size(None, None, frames)
        check_string(places, "places")
        check_number(fps, "fps")
        if not 1 <= fps <= 1000:
            raise InvalidInputError(f"fps must be from 1 to 1000, got {fps:g}. Use 16, or 24 for TI2V-5B.")
        count = len(pictures)
        stand = read_places(places, count, frames, fps) if places.strip() else spread_evenly(count, frames)
        spread = (Keyframe(frame, pictures[index : index + 1]) for index, frame in enumerate(stand))
        return io.NodeOutput((*keyframes, *spread), frames)
