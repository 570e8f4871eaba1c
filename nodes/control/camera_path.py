"""The node that says where the camera of a video goes."""

from __future__ import annotations

from typing import Any

from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import VideoShape
from ...dit.conditioning.camera import Lens, camera_rays
from ...dit.conditioning.camera_moves import MOVES, move_poses
from ..api import ADVANCED, io, one_sentence
from ..image import CATEGORY, size_inputs
from ..sockets.latents import check_video_size
from .path_text import WrittenPath, read_path

WRITTEN = "path"
"""The move that stands for what is written."""
CameraEmbedding = io.Custom("WAN_CAMERA_EMBEDDING")


class WanDirectorCameraPath(io.ComfyNode):
    """The rays of a camera on its way, as ComfyUI's own nodes take them too."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorCameraPath",
            display_name="Wan Camera Path",
            category=CATEGORY,
            description="Says where the camera goes, for Fun-Camera models: one of the usual moves, or a path of your "
            "own.",
            search_aliases=["camera", "camera embedding", "camera trajectory", "pan", "zoom", "plucker"],
            inputs=[
                *size_inputs(),
                io.Combo.Input(
                    "move",
                    options=[*MOVES, WRITTEN],
                    default="zoom in",
                    tooltip="What the camera does. pan and zoom move it, roll and turn turn it; the models were "
                    "trained on pan, zoom and roll. path does what is written in path.",
                ),
                io.Float.Input(
                    "speed", default=1.0, min=0.0, max=10.0, step=0.1, tooltip="How far it goes; 1 as trained."
                ),
                io.String.Input(
                    "path",
                    multiline=True,
                    default="",
                    tooltip='With move path: JSON, such as [{"frame": 0}, {"frame": 80, "move": [1, 0, 2], "turn": '
                    "[0, 20, 0]}], or a matrix for each frame. See the help page.",
                ),
                *_lens_inputs(),
            ],
            outputs=[
                CameraEmbedding.Output(
                    display_name="camera", tooltip="For Wan Fun Control, or ComfyUI's WanCameraImageToVideo."
                ),
                io.Int.Output(display_name="width", tooltip="The width above."),
                io.Int.Output(display_name="height", tooltip="The height above."),
                io.Int.Output(display_name="frames", tooltip="The frames above."),
            ],
        )

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        check_video_size(width, height, frames)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        width: int,
        height: int,
        frames: int,
        move: str,
        speed: float,
        path: str,
        fx: float,
        fy: float,
        cx: float,
        cy: float,
    ) -> Any:
        check_video_size(width, height, frames)
        through = Lens(fx, fy, cx, cy)
        if not fx > 0 or not fy > 0:
            raise InvalidInputError(f"A lens has a focal length above 0, got fx {fx} and fy {fy}.")
        written = _written(move, path, frames, speed)
        poses = move_poses(MOVES[move], frames, speed) if written is None else written.poses
        lenses = [through] if written is None or written.lenses is None else written.lenses
        rays = camera_rays(poses, lenses, VideoShape(frames, height, width))
        return io.NodeOutput(rays, width, height, frames)


def _lens_inputs() -> list[Any]:
    """The widgets of the lens."""
    lengths = [
        io.Float.Input(
            name,
            default=0.5,
            min=0.0,
            max=10.0,
            step=0.001,
            tooltip=f"Focal length of the lens in {side}s of the picture; more looks closer.",
            **ADVANCED,
        )
        for name, side in (("fx", "width"), ("fy", "height"))
    ]
    centers = [
        io.Float.Input(
            name,
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip=f"Where the lens looks, in parts of the picture's {side}: 0.5 is the middle.",
            **ADVANCED,
        )
        for name, side in (("cx", "width"), ("cy", "height"))
    ]
    return [*lengths, *centers]


def _written(move: str, path: str, frames: int, speed: float) -> WrittenPath | None:
    """The path that is written, or None for one of the usual moves.

    Raises:
        InvalidInputError: both are given, none is, or the text is no path.
    """
    if move != WRITTEN:
        if move not in MOVES:
            raise InvalidInputError(f"The move is one of {', '.join(MOVES)} or {WRITTEN}, got {move!r}.")
        if path.strip():
            raise InvalidInputError(f"A path is written, but move is {move}. Choose move path, or empty path.")
        return None
    written = read_path(path, frames, speed)
    if written.is_exact and speed != 1:
        logger.warning("The path has a place for each frame, so that speed %g does not count.", speed)
    return written
