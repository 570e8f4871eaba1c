"""The node that prepares a video for Wan-Animate-2: someone of a picture moves as someone in a video does."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.checking import check_count, check_number, choice_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import MAX_FRAMES, VideoShape
from ...media.pictures import FITS, clean_clip, clean_image, fit_pictures
from ..api import ADVANCED, io, one_sentence
from ..conditioning.animate2.reading import MOST_STRENGTH, POSE_KEYS
from ..conditioning.animate2.writing import (
    Adherence,
    Animated,
    ClipPictures,
    Percents,
    PoseOptions,
    PromptSides,
    animated_sides,
    given_values,
)
from ..conditioning.keys import IMAGE
from ..conditioning.reading import check_fresh
from ..image import CATEGORY, batch_input, size_inputs
from ..sockets.latents import check_video_size, check_wan_2_1, empty_latent, with_references

CARRIED = 1
"""Frames of the chunk before that a chunk begins with."""
MOST_BIAS = 10.0


def _strength(name: str, tooltip: str) -> Any:
    return io.Float.Input(
        name, default=1.0, min=0.0, max=MOST_STRENGTH, step=0.05, round=0.001, tooltip=tooltip, **ADVANCED
    )


def _percent(name: str, default: float, tooltip: str) -> Any:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, round=0.001, tooltip=tooltip, **ADVANCED)


def _optional_inputs() -> list[Any]:
    """What may be given beside the picture and the poses."""
    return [
        io.ClipVisionOutput.Input("clip_vision", optional=True, tooltip="The reference image through CLIP vision."),
        io.Conditioning.Input(
            "positive_pose",
            optional=True,
            tooltip="A prompt for the pose video: what is done there. Without it the positive one counts.",
        ),
        io.ClipVisionOutput.Input(
            "clip_vision_pose",
            optional=True,
            tooltip="The first frame of the pose video through CLIP vision; without it, the reference's.",
        ),
        io.Image.Input(
            "continue_motion",
            optional=True,
            tooltip="The chunk before, whose last frame this one begins with. Leave open for the first chunk.",
        ),
    ]


def _widgets() -> list[Any]:
    """How strongly, and when, poses and picture are followed."""
    return [
        io.Int.Input(
            "video_frame_offset",
            default=0,
            min=0,
            max=MAX_FRAMES * 1000,
            tooltip="From which frame of the pose video on. For a chunk that goes on, connect video_frame_offset of "
            "the chunk before.",
        ),
        _strength("pose_strength", "How strongly poses are followed: 1 is as trained, below loosens, above tightens."),
        _percent("pose_start_percent", 0.0, "From this part of the run on poses are seen; before, steps are quicker."),
        _percent("pose_end_percent", 1.0, "Up to this part. Motion is laid out early: 0.7 leaves details free."),
        _strength("reference_image_strength", "How strongly the picture is kept to: 1 is as trained."),
        io.Float.Input(
            "first_frame_bias",
            default=0.0,
            min=-MOST_BIAS,
            max=MOST_BIAS,
            step=0.1,
            round=0.001,
            tooltip="How much more the first latent frame of the video is looked at; 0 as in ComfyUI. The original "
            "code has -1.3 for the distilled model.",
            **ADVANCED,
        ),
        io.Boolean.Input(
            "weak_negative",
            default=False,
            tooltip="With cfg above 1, negative passes leave out block 9, as in the original code; off as in ComfyUI.",
            **ADVANCED,
        ),
    ]


def _pictures_and_prompts() -> list[Any]:
    """Who moves how, and what more is said and shown of it."""
    return [
        io.Image.Input("reference_image", tooltip="Who is to move. In every chunk the same."),
        io.Image.Input("pose_video", tooltip="The video whose motion is taken over, as it was filmed."),
        io.ClipVisionOutput.Input("clip_vision", optional=True, tooltip="The reference image through CLIP vision."),
        io.Conditioning.Input(
            "positive_pose",
            optional=True,
            tooltip="A prompt for the pose video: what is done there. Without it the positive one counts.",
        ),
        io.ClipVisionOutput.Input(
            "clip_vision_pose",
            optional=True,
            tooltip="The first frame of the pose video through CLIP vision; without it, the reference's.",
        ),
        io.Image.Input(
            "continue_motion",
            optional=True,
            tooltip="The chunk before, whose last frame this one begins with. Leave open for the first chunk.",
        ),
    ]


def _outputs() -> list[Any]:
    return [
        io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
        io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with all that is given."),
        io.Latent.Output(
            display_name="LATENT",
            tooltip="A blank latent of this size, for the Wan Sampler. Wan Decode Video leaves out the picture's.",
        ),
        io.Int.Output(
            display_name="trim_latent",
            tooltip="Latent frames before the video, for ComfyUI's TrimVideoLatent and VAE Decode.",
        ),
        io.Int.Output(display_name="trim_image", tooltip="Frames that this chunk shares with the one before: 1, or 0."),
        io.Int.Output(display_name="video_frame_offset", tooltip="Where in the pose video the next chunk goes on."),
    ]


class WanDirectorAnimate2(io.ComfyNode):
    """The conditioning and latent of a video, or of a chunk of one, for Wan-Animate-2."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorAnimate2",
            display_name="Wan Animate 2",
            category=CATEGORY,
            description="Prepares a video in which the person of a picture moves as the person of another video does, "
            "face and hands too. Longer ones are made in chunks, each from the last frame of the one before.",
            search_aliases=[
                "animate", "WanAnimate2ToVideo", "motion transfer", "pose video", "character animation",
                "replace character", "dance", "wan animate 2",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded prompt: who is seen, and where."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE, which encodes the pictures and will decode the video."),
                *size_inputs(),
                batch_input(),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How pictures of another shape come to the video's size: crop cuts off what stands over "
                    "(centred), pad adds black bars, stretch distorts.",
                ),
                *_widgets(),
                *_pictures_and_prompts(),
            ],
            outputs=_outputs(),
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
        video_frame_offset: int,
        pose_strength: float,
        pose_start_percent: float,
        pose_end_percent: float,
        reference_image_strength: float,
        first_frame_bias: float,
        weak_negative: bool,
        reference_image: Any,
        pose_video: Any,
        clip_vision: Any = None,
        positive_pose: list | None = None,
        clip_vision_pose: Any = None,
        continue_motion: Any = None,
    ) -> Any:
        make = _Chunk(VideoShape(frames, height, width), batch_size, fit, reference_image, continue_motion).animated
        options = Percents(pose_start_percent, pose_end_percent), PoseOptions(first_frame_bias, weak_negative)
        followed = _checked(Adherence(pose_strength, reference_image_strength, *options))
        sides, pictures = PromptSides(positive, negative, positive_pose), ClipPictures(clip_vision, clip_vision_pose)
        return io.NodeOutput(*make(vae, (pose_video, video_frame_offset), followed, sides, pictures))


class _Chunk(NamedTuple):
    """The chunk of a video to make: its size, how pictures come to that, and what it begins with.

    `picture`: who is to move. `before`: the chunk before, None for the first.
    """

    shape: VideoShape
    batch_size: int
    fit: str
    picture: Any
    before: Any

    def animated(
        self,
        vae: Any,
        pose_video: tuple[Any, int],
        followed: Adherence,
        prompts: PromptSides,
        pictures: ClipPictures,
    ) -> tuple[Any, ...]:
        """The outputs of the node.

        Args:
            pose_video: and the frame of it that the chunk, or what it shares with the one before, begins at or behind.

        Raises:
            InvalidInputError: something that is given cannot be.
        """
        check_fresh(prompts.positive, prompts.negative, (IMAGE, *POSE_KEYS), "a picture or poses")
        check_wan_2_1(vae, "Wan-Animate-2")
        frames, height, width = self.shape
        latent = empty_latent(vae, width, height, frames, self.batch_size)
        carried = self.carried()
        shared = 0 if carried is None else len(carried)
        video, offset = pose_video
        check_count(offset, "video_frame_offset", "The first chunk begins at 0.")
        start = max(0, offset - shared)
        poses = self.poses(video, start)
        picture = self.fitted(clean_image(self.picture, "reference_image"))
        given = given_values(vae, picture, carried, frames)
        sides = animated_sides(prompts, Animated(given, vae.encode(poses), followed), pictures)
        before = given["concat_latent_image"].shape[2] - latent["samples"].shape[2]
        return (*sides, with_references(latent, before), before, shared, start + frames)

    def fitted(self, pictures: Tensor) -> Tensor:
        """Those at its size."""
        return fit_pictures(pictures, self.shape.width, self.shape.height, choice_of(self.fit, FITS, "fit"))

    def carried(self) -> Tensor | None:
        """The last frame of the chunk before, if there is one."""
        return None if self.before is None else self.fitted(clean_clip(self.before, "continue_motion")[-CARRIED:])

    def poses(self, video: Any, start: int) -> Tensor:
        """The pose video from a frame on, as long as the video; its last frame stands still to the end.

        Raises:
            InvalidInputError: it has ended before.
        """
        clip, frames = clean_clip(video, "pose_video"), self.shape.frames
        if len(clip) <= start:
            raise InvalidInputError(
                f"pose_video has {len(clip)} frames, and this chunk begins at its frame {start}: nothing is left. Make "
                "fewer chunks, or give a longer video."
            )
        seen = self.fitted(clip[start : start + frames])
        missing = frames - len(seen)
        if missing:
            logger.info("pose_video ends %d frames before the video to make: its last frame stands still.", missing)
        return torch.cat([seen, seen[-1:].expand(missing, -1, -1, -1)])


def _checked(followed: Adherence) -> Adherence:
    """The values of the widgets.

    Raises:
        InvalidInputError: one cannot be.
    """
    strengths = {"pose_strength": followed.strength, "reference_image_strength": followed.reference_strength}
    bias = followed.options.first_frame_bias
    for name, value in (*strengths.items(), ("first_frame_bias", bias)):
        check_number(value, name)
    for name, value in strengths.items():
        if not 0.0 <= value <= MOST_STRENGTH:
            raise InvalidInputError(f"{name} is from 0 to {MOST_STRENGTH:g}, got {value:g}. 1 is as trained.")
    start, end = followed.percents
    if start == end:
        raise InvalidInputError(
            f"Poses would be shown from {start:g} to {end:g} of the run, which is nowhere. Set pose_end_percent above "
            "pose_start_percent, or pose_strength to 0."
        )
    if abs(bias) > MOST_BIAS:
        raise InvalidInputError(
            f"first_frame_bias is from -{MOST_BIAS:g} to {MOST_BIAS:g}, got {bias:g}. 0 is off; the original code has "
            "-1.3 for the distilled model."
        )
    return followed
