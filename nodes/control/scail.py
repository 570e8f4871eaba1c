"""The node that prepares a video for SCAIL and SCAIL-2, whose characters move as in a pose video."""

from __future__ import annotations

from typing import Any

from ...common.checking import choice_of
from ...common.shapes import MAX_FRAMES, MAX_SIDE, TEMPORAL_STRIDE, VideoShape
from ...media.pictures import FITS
from ..api import ADVANCED, io, one_sentence
from ..image import CATEGORY, batch_input
from .scail_parts import (
    MOST_STRENGTH,
    STEP,
    USUAL_PREVIOUS,
    Before,
    FollowedPoses,
    ScailVideo,
    ShownPersons,
    check_size,
    prepared,
)


def _size_inputs() -> list[Any]:
    """The widgets width, height and frames."""
    sides = [
        io.Int.Input(
            name,
            default=usual,
            min=2 * STEP,
            max=MAX_SIDE,
            step=STEP,
            tooltip=f"{name.title()} of the video in pixels, a multiple of 32.",
        )
        for name, usual in (("width", 512), ("height", 896))
    ]
    frames = io.Int.Input(
        "frames",
        default=81,
        min=1,
        max=MAX_FRAMES,
        step=TEMPORAL_STRIDE,
        tooltip="Length of this part of the video: 1 + 4k frames. SCAIL-2 was trained on parts of 81, of which the "
        "first 5 are those of the part before.",
    )
    return [*sides, frames]


def _pose_inputs() -> list[Any]:
    """The widgets of the poses."""
    part = {"min": 0.0, "max": 1.0, "step": 0.01}
    return [
        io.Float.Input(
            "pose_strength",
            default=1.0,
            min=0.0,
            max=MOST_STRENGTH,
            step=0.01,
            tooltip="How much the pose video counts; 1 as in training.",
        ),
        io.Float.Input(
            "pose_start_percent",
            default=0.0,
            **part,
            tooltip="The poses count from this part of the run on: 0 from the beginning.",
            **ADVANCED,
        ),
        io.Float.Input(
            "pose_end_percent",
            default=1.0,
            **part,
            tooltip="The poses count up to this part of the run: 1 to the end.",
            **ADVANCED,
        ),
    ]


def _part_inputs() -> list[Any]:
    """The widgets of a longer video that is made in parts."""
    return [
        io.Int.Input(
            "video_frame_offset",
            default=0,
            min=0,
            max=MAX_FRAMES,
            tooltip="At which frame of the pose video this part begins. Connect the output of that name of the part "
            "before.",
        ),
        io.Int.Input(
            "previous_frame_count",
            default=USUAL_PREVIOUS,
            min=1,
            max=MAX_FRAMES,
            step=TEMPORAL_STRIDE,
            tooltip="How many of the last previous_frames begin this part: 1 + 4k. SCAIL-2 was trained on 5.",
            **ADVANCED,
        ),
        io.Boolean.Input(
            "replacement_mode",
            default=False,
            tooltip="SCAIL-2 only. off: the reference moves as in the pose video, in its own scene. on: it takes the "
            "place of a person in the pose video, whose scene stays. Set it alike in Wan Coloured Masks.",
        ),
    ]


def _pictures() -> list[Any]:
    """The sockets."""
    return [
        io.Image.Input(
            "pose_video",
            optional=True,
            tooltip="The video whose motion is followed: of somebody, or drawn poses for the first SCAIL.",
        ),
        io.Image.Input(
            "pose_video_mask",
            optional=True,
            tooltip="SCAIL-2 only: who is where in pose_video, each in a colour, from Wan Coloured Masks.",
        ),
        io.Image.Input(
            "reference_image",
            optional=True,
            tooltip="Who is to be seen. Of several the first has all persons; the others show more of them, such as "
            "the back or the face.",
        ),
        io.Image.Input(
            "reference_image_mask",
            optional=True,
            tooltip="SCAIL-2 only: who is where in reference_image, in the same colours; one for each of its pictures.",
        ),
        io.ClipVisionOutput.Input(
            "clip_vision",
            optional=True,
            tooltip="The first reference_image in CLIP vision, with crop none, which is how the models were trained.",
        ),
        io.Image.Input(
            "previous_frames",
            optional=True,
            tooltip="SCAIL-2 only: the frames of the part before. Its last ones begin this part.",
        ),
    ]


class WanDirectorScail(io.ComfyNode):
    """The conditioning and latent of a video for SCAIL or SCAIL-2."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorScail",
            display_name="Wan SCAIL",
            category=CATEGORY,
            description="Prepares a video for SCAIL-2: somebody on a picture moves as the person in a video does, or "
            "takes that person's place. Long videos are made in parts.",
            search_aliases=[
                "scail", "WanSCAILToVideo", "character animation", "character replacement", "pose", "motion transfer",
                "animate", "wan scail",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded positive prompt."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE, which encodes the pictures and will decode the video."),
                *_size_inputs(),
                batch_input(),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How pictures and masks of another shape come to the video's size: crop cuts off what "
                    "stands over (centred), pad adds bars, stretch distorts.",
                ),
                *_pose_inputs(),
                *_part_inputs(),
                *_pictures(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with all that is given."),
                io.Latent.Output(display_name="LATENT", tooltip="The latent of this part, for the Wan Sampler."),
                io.Int.Output(
                    display_name="video_frame_offset", tooltip="Where the next part begins: for its input of that name."
                ),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        check_size(width, height, frames)
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
        pose_strength: float,
        pose_start_percent: float,
        pose_end_percent: float,
        video_frame_offset: int,
        previous_frame_count: int,
        replacement_mode: bool,
        pose_video: Any = None,
        pose_video_mask: Any = None,
        reference_image: Any = None,
        reference_image_mask: Any = None,
        clip_vision: Any = None,
        previous_frames: Any = None,
    ) -> Any:
        video = ScailVideo(vae, VideoShape(frames, height, width), choice_of(fit, FITS, "fit"), bool(replacement_mode))
        shown = ShownPersons(reference_image, reference_image_mask, clip_vision)
        followed = FollowedPoses(pose_video, pose_video_mask, pose_strength, pose_start_percent, pose_end_percent)
        before = Before(previous_frames, previous_frame_count, video_frame_offset)
        return io.NodeOutput(*prepared(video, batch_size, (positive, negative), shown, followed, before))
