"""ComfyUI's nodes for SCAIL: a video whose persons move as in another, and masks that say who is who."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....common.checking import choice_of
from .....common.shapes import video_frames
from .... import standin as io
from ....conditioning.clip_image import joined_clip_vision
from ....conditioning.entries import with_values, with_values_in_range
from ....conditioning.families.scail import ANIMATES, POSE, POSE_MASK, REFERENCE_MASK, REFERENCES
from ....control.colours import BLACK, NAMES, WHITE
from ....control.painting import PersonsIn, coloured
from ....control.person_tracks import SORTINGS
from ....control.scail_parts import IS_SOMEBODY, mask_channels, reference_channels
from ....sockets.latents import made_by
from ..dynamic_inputs import ManyTyped
from ..scaling import MAX_SIDE, scaled
from ..wan_videos import blank, latent_frames_of, size_inputs

_TRACK = "SAM3_TRACK_DATA"


class WanSCAILToVideo(io.ComfyNode):
    """A video that follows poses and shows a reference."""

    @classmethod
    def define_schema(cls) -> Any:
        part = {"min": 0.0, "max": 1.0, "step": 0.01}
        return io.Schema(
            node_id="WanSCAILToVideo",
            category="model/conditioning/wan/scail",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Vae.Input("vae"),
                *size_inputs(512, 896, 81, step=32),
                io.Image.Input("pose_video", optional=True, tooltip="The video to move like."),
                io.Image.Input("pose_video_mask", optional=True, tooltip="Who is where in it, in colours."),
                io.Boolean.Input(
                    "replacement_mode",
                    default=False,
                    optional=True,
                    tooltip="Whether persons of the video are replaced.",
                ),
                io.Float.Input("pose_strength", default=1.0, min=0.0, max=10.0, step=0.01),
                io.Float.Input("pose_start", default=0.0, **part),
                io.Float.Input("pose_end", default=1.0, **part),
                io.Image.Input("reference_image", optional=True, tooltip="Who is seen; the first has all persons."),
                io.Image.Input("reference_image_mask", optional=True, tooltip="Who is where on it, in colours."),
                io.ClipVisionOutput.Input("clip_vision_output", optional=True),
                io.Int.Input("video_frame_offset", default=0, min=0, max=MAX_SIDE, step=1),
                io.Int.Input("previous_frame_count", default=5, min=1, max=MAX_SIDE, step=4),
                io.Image.Input("previous_frames", optional=True, tooltip="The frames of the part before."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
                io.Int.Output(display_name="video_frame_offset"),
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
        pose_strength: float,
        pose_start: float,
        pose_end: float,
        video_frame_offset: int,
        previous_frame_count: int,
        replacement_mode: bool = False,
        reference_image: Tensor | None = None,
        clip_vision_output: Any = None,
        pose_video: Tensor | None = None,
        pose_video_mask: Tensor | None = None,
        reference_image_mask: Tensor | None = None,
        previous_frames: Tensor | None = None,
    ) -> Any:
        latent, size = blank(vae, width, height, length, batch_size), (width, height)
        values: dict[str, Any] = joined_clip_vision(clip_vision_output, None) | made_by(vae)
        values[ANIMATES] = not replacement_mode
        if previous_frames is not None and len(previous_frames):
            previous = previous_frames[-previous_frame_count:]
            video_frame_offset = max(0, video_frame_offset - len(previous))
            latent = _begun(vae, latent, scaled(_colours(previous), *size, "bicubic", "center"))
        if reference_image is not None:
            frames = latent["samples"].shape[2]
            values |= _references(vae, size, frames, reference_image, reference_image_mask, bool(replacement_mode))
        poses, masks = _together(pose_video, pose_video_mask, video_frame_offset, length)
        half, stride = (width // 2, height // 2), vae.spacial_compression_encode()
        if masks is not None:
            values[POSE_MASK] = mask_channels(scaled(_colours(masks), *half, "area", "center"), stride)
        latents = values.pop(REFERENCES, None)
        sides = {"positive": with_values(positive, values), "negative": with_values(negative, values)}
        if latents is not None:
            sides = {name: _with_more_references(side, latents) for name, side in sides.items()}
        if poses is not None:
            moved = {POSE: vae.encode(scaled(_colours(poses), *half, "area", "center")) * pose_strength}
            sides = {
                name: with_values_in_range(side, moved, pose_start, pose_end, name) for name, side in sides.items()
            }
        return io.NodeOutput(*sides.values(), latent, video_frame_offset + length)


def _colours(pictures: Tensor) -> Tensor:
    return pictures[..., :3].float()


def _begun(vae: Any, latent: dict[str, Any], frames: Tensor) -> dict[str, Any]:
    """The latent that begins with frames, which are kept."""
    encoded, samples = vae.encode(frames), latent["samples"].clone()
    count = min(encoded.shape[2], samples.shape[2])
    samples[:, :, :count] = encoded[:, :, :count]
    mask = torch.ones_like(samples[:1, :1])
    mask[:, :, :count] = 0.0
    return {**latent, "samples": samples, "noise_mask": mask}


def _references(
    vae: Any, size: tuple[int, int], frames: int, pictures: Tensor, masks: Tensor | None, replaces: bool
) -> dict[str, Any]:
    """The values of references, each encoded by itself; the last mask serves those without one."""
    shown, values = scaled(_colours(pictures), *size, "bicubic", "center"), {}
    if masks is not None:
        own = scaled(_colours(masks), *size, "nearest-exact", "center")
        own = own[[min(index, len(own) - 1) for index in range(len(shown))]]
        if replaces:
            shown = shown * (own.amax(dim=-1, keepdim=True) > IS_SOMEBODY)
        values[REFERENCE_MASK] = reference_channels(own, frames, vae.spacial_compression_encode())
    return {**values, REFERENCES: [vae.encode(shown[index : index + 1]) for index in range(len(shown))]}


def _with_more_references(conditioning: list, latents: list[Tensor]) -> list:
    """The conditioning with references behind those that it has, as ComfyUI adds them."""
    return [
        [embedding, {**entry, REFERENCES: [*entry.get(REFERENCES, ()), *latents]}] for embedding, entry in conditioning
    ]


def _together(
    poses: Tensor | None, masks: Tensor | None, offset: int, length: int
) -> tuple[Tensor | None, Tensor | None]:
    """Poses and their masks from a frame on, as long as both are, in whole latent frames; None of what has ended."""
    left = [None if clip is None or len(clip) <= offset else clip[offset:] for clip in (poses, masks)]
    lengths = [len(clip) for clip in left if clip is not None]
    if not lengths:
        return None, None
    frames = video_frames(latent_frames_of(min(*lengths, length)))
    first, second = (None if clip is None else clip[:frames] for clip in left)
    return first, second


class SCAIL2ColoredMask(io.ComfyNode):
    """Tracks of persons as coloured masks."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SCAIL2ColoredMask",
            display_name="Create SCAIL-2 Colored Mask",
            category="model/conditioning/wan/scail",
            inputs=[
                io.Custom(_TRACK).Input("driving_track_data", tooltip="Who is where in the pose video."),
                ManyTyped(
                    "ref_track_data",
                    (_TRACK, "MASK"),
                    optional=True,
                    display_name="reference_masks",
                    tooltip="Who is where on the reference pictures; a mask is of one person.",
                ),
                io.String.Input("object_indices", default="", tooltip="Who is taken, such as 0,2; empty for all."),
                io.Combo.Input("sort_by", options=["none", "left_to_right", "area"], default="left_to_right"),
                io.Boolean.Input("replacement_mode", default=False),
            ],
            outputs=[
                io.Image.Output(display_name="pose_video_mask"),
                io.Image.Output(display_name="reference_image_mask"),
            ],
        )

    @classmethod
    def execute(
        cls,
        driving_track_data: Any,
        object_indices: str,
        sort_by: str,
        replacement_mode: bool,
        ref_track_data: Any = None,
    ) -> Any:
        grounds = (WHITE, BLACK) if replacement_mode else (BLACK, WHITE)
        is_mask = isinstance(ref_track_data, Tensor)
        shown = (
            PersonsIn("pose", grounds[0], None, None, driving_track_data),
            PersonsIn("reference", grounds[1], None, *((ref_track_data, None) if is_mask else (None, ref_track_data))),
        )
        sorting = choice_of(sort_by.replace("_", " "), SORTINGS, "sort_by")
        return io.NodeOutput(*coloured(shown, NAMES[0], sorting, object_indices))
