"""The node that prepares a video of somebody who speaks, for Wan S2V."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.checking import choice_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import TEMPORAL_STRIDE, VideoShape, video_frames
from ...dit.branches.audio.past import PAST_FRAMES
from ...media.pictures import FITS, Fit, clean_clip, clean_image, fit_pictures
from ..api import io, one_sentence
from ..conditioning.reading import check_fresh
from ..image import batch_input, prompt_inputs, size_inputs
from ..sockets.latents import check_video_size, check_wan_2_1, empty_latent, family_of, video_samples
from .encoder import CATEGORY
from .heard import both_sides, heard_features
from .values import SPEECH_KEYS

USUAL_FRAMES = 77
"""Of a chunk, as the model was trained: 20 latent frames."""


def fit_input() -> Any:
    """The widget fit."""
    return io.Combo.Input(
        "fit",
        options=list(FITS),
        default="crop",
        tooltip="How pictures of another shape are brought to this size: crop cuts the sides, pad adds bars, "
        "stretch distorts.",
    )


class WanDirectorSpeechToVideo(io.ComfyNode):
    """The conditioning and latent of a video of somebody who speaks."""

    @classmethod
    def define_schema(cls) -> Any:
        width, height, _ = size_inputs()
        return io.Schema(
            node_id="WanDirectorSpeechToVideo",
            display_name="Wan Speech To Video",
            category=CATEGORY,
            description="Prepares a video in which somebody speaks or sings, for Wan S2V: with their picture, what is "
            "heard, poses to follow, and the video so far where it is longer than one chunk. 16 frames a second.",
            search_aliases=[
                "s2v", "speech to video", "sound to video", "WanSoundImageToVideo", "WanSoundImageToVideoExtend",
                "talking head", "lip sync", "audio driven",
            ],
            inputs=[
                *prompt_inputs(),
                width,
                height,
                io.Int.Input(
                    "frames",
                    default=USUAL_FRAMES,
                    min=1,
                    max=1021,
                    step=4,
                    tooltip="Length of this chunk: 1 + 4k frames, 16 a second. Wan S2V was trained on 77; make more "
                    "chunks for a longer video.",
                ),
                batch_input(),
                fit_input(),
                *_given_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt, with a silent sound."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this chunk, for the Wan Sampler."),
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
        audio: Any = None,
        reference_image: Any = None,
        pose_video: Any = None,
        previous: Any = None,
        previous_frames: Any = None,
    ) -> Any:
        check_fresh(positive, negative, SPEECH_KEYS, "a sound, a picture or a video to go on from")
        check_wan_2_1(vae, "Wan S2V")
        latent = empty_latent(vae, width, height, frames, batch_size)
        pictures = ShapedPictures(vae, VideoShape(frames, height, width), choice_of(fit, FITS, "fit"))
        past = past_latent(pictures, latent["samples"], previous, previous_frames)
        values = {"control_video": pose_latent(pictures, latent["samples"], pose_video)} | past.values
        if reference_image is not None:
            picture = pictures.encoded(clean_image(reference_image, "reference_image"))
            values["reference_latents"] = [picture]
        heard = None if audio is None else heard_features(audio, latent["samples"].shape[2], past.first)
        return io.NodeOutput(*both_sides(positive, negative, values, heard), latent)


def _given_inputs() -> list[Any]:
    """What may be given of the video."""
    return [
        io.AudioEncoderOutput.Input(
            "audio",
            optional=True,
            tooltip="What is said or sung, from Wan Audio Encode: the whole of it, also for later chunks.",
        ),
        io.Image.Input("reference_image", optional=True, tooltip="Who speaks; of several pictures the first."),
        io.Image.Input(
            "pose_video",
            optional=True,
            tooltip="Poses to follow, as drawings of the body, from this chunk's first frame on. Frames beyond "
            "its end are left to the model.",
        ),
        io.Latent.Input(
            "previous",
            optional=True,
            tooltip="The video so far, as it was sampled, which this chunk goes on from: the sound goes on "
            "with it. Join both with LatentConcat along t.",
        ),
        io.Image.Input(
            "previous_frames",
            optional=True,
            tooltip="Frames of another video to go on from, of which the last 73 count; the sound begins here.",
        ),
    ]


class ShapedPictures(NamedTuple):
    """How pictures come into the latent of a video: its VAE, its size, and how they are brought to that."""

    vae: Any
    shape: VideoShape
    fit: Fit

    def encoded(self, pictures: Tensor) -> Tensor:
        """Pictures [F, H, W, 3] as a raw latent [1, C, T, h, w]."""
        return self.vae.encode(fit_pictures(pictures, self.shape.width, self.shape.height, self.fit))


class BeforeChunk(NamedTuple):
    """What is before a chunk: the conditioning values of it, and the latent frame that the chunk begins with."""

    values: dict[str, Any]
    first: int


def past_latent(pictures: ShapedPictures, samples: Tensor, previous: Any, previous_frames: Any) -> BeforeChunk:
    """The frames before a chunk with the latent `samples` [B, C, T, h, w].

    Raises:
        InvalidInputError: both a latent and frames are given, or it is of another size or for other videos.
    """
    if previous is not None and previous_frames is not None:
        raise InvalidInputError("previous and previous_frames are both given. Connect one of them.")
    if previous is not None:
        before = video_samples(previous)
        if before.shape[1] != samples.shape[1] or before.shape[-2:] != samples.shape[-2:]:
            stride = pictures.shape.width // samples.shape[-1]
            raise InvalidInputError(
                f"previous is a video of {stride * before.shape[-1]} x {stride * before.shape[-2]} pixels and "
                f"{before.shape[1]} channels, but this chunk has {pictures.shape.width} x {pictures.shape.height} and "
                f"{samples.shape[1]}. Set width and height to those of the video so far."
            )
        if len(before) not in (1, len(samples)):
            raise InvalidInputError(
                f"previous has {len(before)} videos, and this chunk is made for {len(samples)}. Set batch_size to "
                f"{len(before)}."
            )
        return BeforeChunk({"reference_motion": before[:, :, -PAST_FRAMES:]}, before.shape[2])
    if previous_frames is None:
        return BeforeChunk({}, 0)
    clip = clean_clip(previous_frames, "previous_frames")[-video_frames(PAST_FRAMES) :]
    fitted = fit_pictures(clip, pictures.shape.width, pictures.shape.height, pictures.fit)
    grey = torch.full((video_frames(PAST_FRAMES) - len(fitted), *fitted.shape[1:]), 0.5)
    return BeforeChunk({"reference_motion": pictures.vae.encode(torch.cat([grey, fitted]))}, 0)


def pose_latent(pictures: ShapedPictures, samples: Tensor, pose_video: Any) -> Tensor:
    """The raw latent of poses [1, C, T, h, w]; zero for the model where there are none.

    The last picture stands still to the end of the latent frame that it is in.
    """
    nothing = family_of(pictures.vae).denormalize(torch.zeros_like(samples[:1]))
    if pose_video is None:
        return nothing
    clip, frames = clean_clip(pose_video, "pose_video"), pictures.shape.frames
    if len(clip) > frames:
        logger.info("pose_video has %d frames; the first %d are used.", len(clip), frames)
    elif len(clip) < frames:
        logger.info("pose_video ends after %d of %d frames; the rest is made freely.", len(clip), frames)
    clip = clip[:frames]
    missing = -(len(clip) - 1) % TEMPORAL_STRIDE
    encoded = pictures.encoded(torch.cat([clip, clip[-1:].expand(missing, -1, -1, -1)]))
    return torch.cat([encoded, nothing[:, :, encoded.shape[2] :]], dim=2)
