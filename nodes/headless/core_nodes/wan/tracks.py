"""ComfyUI's nodes that move a start image along tracks: ATI and Wan-Move."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from .....common.checking import has_values
from .....common.errors import InvalidInputError
from .....common.log import logger
from .....dit.conditioning.tracks import TRAINED_FRAMES, Tracks, moved_features, resampled, steered_along
from .... import standin as io
from ....conditioning.clip_image import joined_clip_vision
from ....conditioning.entries import with_values
from ....sockets.latents import family_of, made_by
from ..wan_videos import WanImageToVideo, blank, fitted, given_values, grey, video_schema

TracksType = io.Custom("TRACKS")
SPEEDS = ["linear", "ease_in", "ease_out", "ease_in_out", "constant"]
"""How a point moves along its way."""
_FARTHEST = 1e6
"""Pixels from the corner at which a point may lie."""


class WanTrackToVideo(io.ComfyNode):
    """A start image whose points move along tracks, for ATI."""

    @classmethod
    def define_schema(cls) -> Any:
        schema = video_schema(
            "WanTrackToVideo",
            [
                io.Float.Input("temperature", default=220.0, min=1.0, max=1000.0, step=0.1, advanced=True),
                io.Int.Input("topk", default=2, min=1, max=10, advanced=True),
                io.Image.Input("start_image", tooltip="What the points move."),
                io.ClipVisionOutput.Input("clip_vision_output", optional=True),
            ],
            folder="/move",
        )
        tracks = io.String.Input("tracks", multiline=True, default="[]", tooltip="Lists of x and y in pixels, as JSON.")
        schema.inputs.insert(3, tracks)
        return schema

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        tracks: str,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        temperature: float,
        topk: int,
        start_image: Tensor,
        clip_vision_output: Any = None,
    ) -> Any:
        lists = _lists(tracks)
        if not lists:
            return WanImageToVideo.execute(
                positive, negative, vae, width, height, length, batch_size, clip_vision_output, start_image
            )
        latent = blank(vae, width, height, length, batch_size)
        if len(start_image) > 1:
            logger.warning("Of %d start images, the command line takes the first.", len(start_image))
        family = family_of(vae)
        given = grey(fitted(start_image[:1], width, height), length, width, height)
        clip = family.normalize(vae.encode(given))
        points = resampled(_tracks(lists, TRAINED_FRAMES), length)
        mask, moved = steered_along(clip, points, width, height, temperature=temperature, nearest=topk)
        values = {"concat_latent_image": family.denormalize(moved), "concat_mask": 1 - mask.expand(-1, 4, -1, -1, -1)}
        values |= joined_clip_vision(clip_vision_output, None) | made_by(vae)
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)


class WanMoveTrackToVideo(io.ComfyNode):
    """A start image whose features are put along tracks, for Wan-Move."""

    @classmethod
    def define_schema(cls) -> Any:
        schema = video_schema(
            "WanMoveTrackToVideo",
            [
                io.Image.Input("start_image", tooltip="What the points move."),
                io.ClipVisionOutput.Input("clip_vision_output", optional=True),
            ],
            folder="/move",
        )
        strength = io.Float.Input("strength", default=1.0, min=0.0, max=100.0, step=0.01, tooltip="0 moves nothing.")
        schema.inputs[3:3] = [TracksType.Input("tracks", optional=True), strength]
        return schema

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        strength: float,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        start_image: Tensor,
        tracks: Tracks | None = None,
        clip_vision_output: Any = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        given = fitted(start_image[:length], width, height)
        mask = torch.ones(1, 1, *latent["samples"].shape[2:])
        mask[:, :, : (len(given) - 1) // 4 + 1] = 0.0
        values = given_values(vae, grey(given, length, width, height), mask)
        if tracks is not None and strength > 0.0:
            places, visible = (each[:length] for each in tracks)
            stride = vae.spacial_compression_encode()
            values["concat_latent_image"] = moved_features(
                values["concat_latent_image"], places, visible, stride, strength
            )
        values |= joined_clip_vision(clip_vision_output, None)
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)


class GenerateTracks(io.ComfyNode):
    """Points beside each other that move along a line or a curve."""

    @classmethod
    def define_schema(cls) -> Any:
        part = {"min": 0.0, "max": 1.0, "step": 0.01, "tooltip": "A part of the width or height."}
        return io.Schema(
            node_id="GenerateTracks",
            display_name="Generate Video Tracks",
            category="model/conditioning/wan/move",
            inputs=[
                io.Int.Input("width", default=832, min=16, max=4096, step=16),
                io.Int.Input("height", default=480, min=16, max=4096, step=16),
                io.Float.Input("start_x", default=0.0, **part),
                io.Float.Input("start_y", default=0.0, **part),
                io.Float.Input("end_x", default=1.0, **part),
                io.Float.Input("end_y", default=1.0, **part),
                io.Int.Input("num_frames", default=81, min=1, max=1024),
                io.Int.Input("num_tracks", default=5, min=1, max=100),
                io.Float.Input("track_spread", default=0.025, **part | {"step": 0.001}),
                io.Boolean.Input("bezier", default=False, tooltip="A curve towards the point between."),
                io.Float.Input("mid_x", default=0.5, **part),
                io.Float.Input("mid_y", default=0.5, **part),
                io.Combo.Input("interpolation", options=SPEEDS, tooltip="How fast the points move along the way."),
                io.Mask.Input("track_mask", optional=True, tooltip="A frame that is black in it shows no point."),
            ],
            outputs=[TracksType.Output(), io.Int.Output(display_name="track_length")],
        )

    @classmethod
    def execute(
        cls,
        width: int,
        height: int,
        start_x: float,
        start_y: float,
        end_x: float,
        end_y: float,
        num_frames: int,
        num_tracks: int,
        track_spread: float,
        bezier: bool,
        mid_x: float,
        mid_y: float,
        interpolation: str,
        track_mask: Tensor | None = None,
    ) -> Any:
        size = torch.tensor([width, height], dtype=torch.float32)
        start, middle, end = (torch.tensor(at) * size for at in ((start_x, start_y), (mid_x, mid_y), (end_x, end_y)))
        middle = middle if bezier else (start + end) / 2
        way, heading = _way(start, middle, end, _timing(num_frames, interpolation))
        length = heading.norm(dim=-1, keepdim=True)
        across = torch.stack((-heading[:, 1], heading[:, 0]), dim=-1) / length
        across = torch.where(length > 0, across, torch.tensor([1.0, 0.0]))
        spread = (torch.arange(num_tracks) - (num_tracks - 1) / 2) * track_spread * (width + height) / 2
        places = way[:, None] + across[:, None] * spread[None, :, None]
        return io.NodeOutput(Tracks(places, _visible(track_mask, num_frames, num_tracks)), num_frames)


class WanMoveConcatTrack(io.ComfyNode):
    """Two sets of tracks as one."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanMoveConcatTrack",
            category="model/conditioning/wan/move",
            inputs=[TracksType.Input("tracks_1"), TracksType.Input("tracks_2", optional=True)],
            outputs=[TracksType.Output()],
        )

    @classmethod
    def execute(cls, tracks_1: Tracks, tracks_2: Tracks | None = None) -> Any:
        if tracks_2 is None:
            return io.NodeOutput(tracks_1)
        if len(tracks_1.places) != len(tracks_2.places):
            raise InvalidInputError(
                f"Tracks of {len(tracks_1.places)} and of {len(tracks_2.places)} frames cannot be joined. Make them of "
                "the same number of frames."
            )
        return io.NodeOutput(Tracks(*(torch.cat(both, dim=1) for both in zip(tracks_1, tracks_2))))


class WanMoveTracksFromCoords(io.ComfyNode):
    """Tracks from lists of x and y."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanMoveTracksFromCoords",
            category="model/conditioning/wan/move",
            inputs=[
                io.String.Input("track_coords", default="[]", force_input=True, optional=True),
                io.Mask.Input("track_mask", optional=True, tooltip="A frame that is black in it shows no point."),
            ],
            outputs=[TracksType.Output(), io.Int.Output(display_name="track_length")],
        )

    @classmethod
    def execute(cls, track_coords: str = "[]", track_mask: Tensor | None = None) -> Any:
        lists = _lists(track_coords)
        if not lists:
            raise InvalidInputError('There are no tracks. Give lists of {"x": pixels, "y": pixels} as JSON.')
        length = len(lists[0])
        tracks = _tracks(lists, length)
        visible = _visible(track_mask, length, tracks.places.shape[1])
        return io.NodeOutput(Tracks(tracks.places, tracks.visible & visible), length)


def _lists(text: str) -> list[list[dict[str, float]]]:
    """JSON of one track, of a list of tracks or of such a list for each video -> the tracks of the first; [] for none.

    Raises:
        InvalidInputError: it is none of these.
    """
    try:
        found = json.loads(text.replace("'", '"') or "[]")
        if not found:
            return []
        if isinstance(found[0], dict):
            found = [found]
        if isinstance(found[0][0], list):
            found = found[0]
        lists = [[{axis: float(point[axis]) for axis in ("x", "y")} for point in track] for track in found]
        if not all(lists) or any(
            not abs(value) < _FARTHEST for track in lists for at in track for value in at.values()
        ):
            raise ValueError("a track without points, or a point that is nowhere")
        return lists
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInputError(
            f'Tracks are lists of points in pixels as JSON, such as [[{{"x": 10, "y": 20}}, ...], ...], got '
            f"{text[:80]!r}."
        ) from error


def _tracks(lists: list[list[dict[str, float]]], frames: int) -> Tracks:
    places = torch.zeros(frames, len(lists), 2)
    visible = torch.zeros(frames, len(lists), dtype=torch.bool)
    for number, track in enumerate(lists):
        shown = track[:frames]
        places[: len(shown), number] = torch.tensor([[each["x"], each["y"]] for each in shown])
        visible[: len(shown), number] = True
    return Tracks(places, visible)


def _visible(mask: Tensor | None, frames: int, points: int) -> Tensor:
    """Which points are seen, by a mask [F, H, W]; all without one."""
    if mask is None or not has_values(mask):
        return torch.ones(frames, points, dtype=torch.bool)
    if len(mask) < frames:
        raise InvalidInputError(
            f"The track mask has {len(mask)} frames, and the tracks have {frames}. Give a frame of the mask for each."
        )
    return (mask > 0).flatten(1).any(1)[:frames, None].expand(-1, points)


def _timing(frames: int, name: str) -> Tensor:
    t = torch.linspace(0, 1, frames)[:, None]
    return {
        "constant": torch.zeros_like(t),
        "linear": t,
        "ease_in": t**2,
        "ease_out": 1 - (1 - t) ** 2,
        "ease_in_out": t * t * (3 - 2 * t),
    }[name]


def _way(start: Tensor, middle: Tensor, end: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Places [F, 2] on a quadratic Bezier curve at times t [F, 1], and the direction of each."""
    places = (1 - t) ** 2 * start + 2 * (1 - t) * t * middle + t**2 * end
    return places, 2 * (1 - t) * (middle - start) + 2 * t * (end - middle)
