"""ComfyUI's node for Wan-Animate: a person of a picture that follows poses and a face."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....common.shapes import video_frames
from .... import standin as io
from ....conditioning.clip_image import joined_clip_vision
from ....conditioning.entries import with_values
from ....conditioning.families.animate import FACE, POSES
from ....sockets.latents import made_by
from ..scaling import MAX_SIDE, scaled
from ..wan_videos import blank, latent_frames_of, size_inputs

_FACE_SIDE = 512
_OFFSET = "Frames of all videos that the parts before have made."


class WanAnimateToVideo(io.ComfyNode):
    """A video of a person, which the pose and face of another one lead."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanAnimateToVideo",
            category="model/conditioning/wan/animate",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Vae.Input("vae"),
                *size_inputs(832, 480, 77),
                io.ClipVisionOutput.Input("clip_vision_output", optional=True),
                io.Image.Input("reference_image", optional=True, tooltip="The person; black where there is none."),
                io.Image.Input("face_video", optional=True, tooltip="The face, at 512 x 512."),
                io.Image.Input("pose_video", optional=True, tooltip="Drawn poses; the last one stands to the end."),
                io.Int.Input("continue_motion_max_frames", default=5, min=1, max=MAX_SIDE, step=4),
                io.Image.Input("background_video", optional=True, tooltip="What the person is put into."),
                io.Mask.Input("character_mask", optional=True, tooltip="Where: white is made, black is kept."),
                io.Image.Input("continue_motion", optional=True, tooltip="The frames of the part before."),
                io.Int.Input("video_frame_offset", default=0, min=0, max=MAX_SIDE, step=1, tooltip=_OFFSET),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
                io.Int.Output(display_name="trim_latent", tooltip="For Trim Video Latent."),
                io.Int.Output(display_name="trim_image", tooltip="Frames of the part before that are shown again."),
                io.Int.Output(display_name="video_frame_offset", tooltip="For the node of the next part."),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        continue_motion_max_frames: int,
        video_frame_offset: int,
        clip_vision_output: Any = None,
        reference_image: Tensor | None = None,
        **clips: Tensor | None,
    ) -> Any:
        size = (length, height, width)
        reference = torch.zeros(1, height, width, 3) if reference_image is None else reference_image[:length]
        shown = vae.encode(_whole(_fitted(reference, size)))
        before = _before(clips.get("continue_motion"), size, continue_motion_max_frames)
        start = max(video_frame_offset - len(before), 0)
        kept = max(latent_frames_of(len(before)) * 4 - 3, 0) if len(before) else 0
        scene = _scene(_from(clips.get("background_video"), start), before, kept, size)
        latent = blank(vae, width, height, length, batch_size, more=shown.shape[2])
        given = torch.cat([shown, vae.encode(_whole(scene))], dim=2)
        mask = _mask(_mask_from(clips.get("character_mask"), start, length), kept, latent["samples"], shown.shape[2])
        values = {"concat_latent_image": given, "concat_mask": mask} | made_by(vae)
        values |= joined_clip_vision(clip_vision_output, None)
        poses = _from(clips.get("pose_video"), start)
        if poses is not None:
            clip = _fitted(poses[:length], size)
            values[POSES] = vae.encode(_whole(torch.cat([clip, clip[-1:].expand(length - len(clip), -1, -1, -1)])))
        sides = [with_values(side, values) for side in (positive, negative)]
        face = _from(clips.get("face_video"), start)
        if face is not None:
            pixels = scaled(face[:length].float(), _FACE_SIDE, _FACE_SIDE, "area", "center") * 2.0 - 1.0
            pixels = pixels.movedim(-1, 0)[None]
            black = pixels.new_full((1, 1, 1, 1, 1), -1.0).expand_as(pixels)
            sides = [with_values(side, {FACE: each}) for side, each in zip(sides, (pixels, black))]
        return io.NodeOutput(*sides, latent, shown.shape[2], kept, start + length)


def _fitted(pictures: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Pictures [F, H, W, C] of the video's size, [F, height, width, 3]."""
    return scaled(pictures[..., :3].float(), size[2], size[1], "area", "center")


def _whole(clip: Tensor) -> Tensor:
    """The last 1 + 4k frames that the VAE encodes, as ComfyUI's leaves out the others."""
    return clip[: video_frames(latent_frames_of(len(clip)))]


def _from(clip: Tensor | None, start: int) -> Tensor | None:
    """What is left of a clip from a frame on; None of one that has ended."""
    return None if clip is None or len(clip) <= start else clip[start:]


def _before(clip: Tensor | None, size: tuple[int, int, int], most: int) -> Tensor:
    """The last frames of the part before, at the video's size."""
    if clip is None:
        return torch.zeros(0, size[1], size[2], 3)
    return _fitted(clip[-most:][-size[0] :], size)


def _scene(background: Tensor | None, before: Tensor, kept: int, size: tuple[int, int, int]) -> Tensor:
    """The clip [F, H, W, 3] of the given frames, the background behind them, and grey."""
    clip = torch.full((*size, 3), 0.5)
    clip[: len(before)] = before
    if background is not None:
        fitted = _fitted(background[: size[0]], size)
        clip[kept : len(fitted)] = fitted[kept:]
    return clip


def _mask_from(masks: Tensor | None, start: int, length: int) -> Tensor | None:
    """The masks [F, H, W] of the frames of this part; a single one serves all."""
    if masks is None:
        return None
    masks = masks.reshape(-1, *masks.shape[-2:])
    return masks.expand(length, -1, -1) if len(masks) == 1 else _from(masks, start)


def _mask(masks: Tensor | None, kept: int, samples: Tensor, references: int) -> Tensor:
    """[1, 4, T, h, w], 1 = made. Frames of the mask are counted from 0 in fours, as ComfyUI does."""
    frames, *size = samples.shape[2:]
    made = torch.ones(4 * (frames - references), *size)
    made[: kept + 3 if kept else 0] = 0.0
    if masks is not None:
        small = scaled(masks[: len(made)].float(), size[1], size[0], "nearest-exact", "center")
        made[kept : len(small)] = small[kept:]
    made = made.unflatten(0, (-1, 4)).transpose(0, 1)[None]
    return torch.cat([made.new_zeros(1, 4, references, *size), made], dim=2)
