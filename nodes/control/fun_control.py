"""The node that prepares a video for the models of the Fun family."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.checking import choice_of, tensor_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import TEMPORAL_STRIDE, VideoShape
from ...media.pictures import FITS, Fit, clean_clip, clean_image, fit_pictures
from ..api import io, one_sentence
from ..conditioning.clip_image import joined_clip_vision
from ..conditioning.entries import with_values
from ..conditioning.fun import with_reference
from ..conditioning.keyframes import given_frames, keyframe_values
from ..image import CATEGORY, batch_input, prompt_inputs, size_inputs
from ..sockets.latents import check_video_size, empty_latent, family_of, made_by
from .camera_path import CameraEmbedding


class WanDirectorFunControl(io.ComfyNode):
    """The conditioning and latent of a video for a Fun-Control, Fun-Camera or Fun-InP model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorFunControl",
            display_name="Wan Fun Control",
            category=CATEGORY,
            description="Prepares a video that follows a control video (Fun-Control) or a camera's path (Fun-Camera), "
            "shows a reference picture, or has given first and last frames (all, and Fun-InP).",
            search_aliases=["fun control", "fun camera", "fun inpaint", "canny", "depth", "pose", "control video"],
            inputs=[
                *prompt_inputs(),
                *size_inputs(),
                batch_input(),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How pictures of another shape come to the video's size: crop cuts off what stands over "
                    "(centred), pad adds black bars, stretch distorts.",
                ),
                io.Image.Input(
                    "control_video",
                    optional=True,
                    tooltip="Fun-Control only: what the video follows, such as lines, depth or poses. Frames beyond "
                    "its end are made freely.",
                ),
                io.Image.Input(
                    "start_image", optional=True, tooltip="The first frame. A clip of n pictures gives the first n."
                ),
                io.Image.Input(
                    "end_image",
                    optional=True,
                    tooltip="The last frame, for models of 2.2 and Fun-InP. A clip of n pictures gives the last n.",
                ),
                io.Image.Input(
                    "reference_image",
                    optional=True,
                    tooltip="Fun-Control of 1.1 and 2.2 only: who or what the video shows; of several the first.",
                ),
                CameraEmbedding.Input(
                    "camera", optional=True, tooltip="Fun-Camera only: where the camera goes, from Wan Camera Path."
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision", optional=True, tooltip="Wan 2.1 only: the start or reference image in CLIP vision."
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with all that is given."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this size, for the Wan Sampler."),
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
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        frames: int,
        batch_size: int,
        fit: str,
        control_video: Any = None,
        start_image: Any = None,
        end_image: Any = None,
        reference_image: Any = None,
        camera: Any = None,
        clip_vision: Any = None,
    ) -> Any:
        latent, shape = empty_latent(vae, width, height, frames, batch_size), VideoShape(frames, height, width)
        followed = Followed(control_video, start_image, end_image, reference_image, camera)
        video = _Video(vae, shape, choice_of(fit, FITS, "fit"), latent["samples"][:1])
        values = fun_values(video, followed) | joined_clip_vision(clip_vision, None)
        sides = [with_values(side, values) for side in (positive, negative)]
        if reference_image is not None:
            reference = vae.encode(video.fitted(clean_image(reference_image, "reference_image")))
            sides = [with_reference(side, reference) for side in sides]
        return io.NodeOutput(*sides, latent)


class Followed(NamedTuple):
    """All that a video may follow or show, as it came; None for what did not."""

    control_video: Any
    start_image: Any
    end_image: Any
    reference_image: Any
    camera: Any


class _Video(NamedTuple):
    """The video to make: its VAE, size, how pictures come to that, and its blank latent [1, C, T, h, w]."""

    vae: Any
    shape: VideoShape
    fit: Fit
    samples: Tensor

    def fitted(self, pictures: Tensor) -> Tensor:
        """Pictures at its size."""
        return fit_pictures(pictures, self.shape.width, self.shape.height, self.fit)

    def nothing(self) -> Tensor:
        """The raw latent that is zero for the model."""
        return family_of(self.vae).denormalize(torch.zeros_like(self.samples))


def fun_values(video: _Video, followed: Followed) -> dict[str, Any]:
    """The conditioning values of what a video follows, without its reference.

    Raises:
        InvalidInputError: nothing is given, or something that cannot be.
    """
    if all(each is None for each in followed):
        raise InvalidInputError(
            f"Nothing is given. Connect one of {', '.join(Followed._fields)}, or use Wan Empty Latent."
        )
    given = given_frames(video.shape.frames, followed.start_image, followed.end_image, ())
    values: dict[str, Any] = keyframe_values(video.vae, given, video.shape, video.fit)
    if not given:
        values = {"concat_latent_image": video.nothing(), "concat_mask": torch.ones_like(video.samples[:, :4])}
        values |= made_by(video.vae)
    if followed.camera is not None:
        values["camera_conditions"] = _fitting_path(followed.camera, video)
    if followed.control_video is not None:
        start: Tensor = values["concat_latent_image"]
        both = torch.cat((_control_latent(video, followed.control_video), start), dim=1)
        values |= {"concat_latent_image": both, "concat_mask_index": video.samples.shape[1]}
    return values


def _control_latent(video: _Video, control: Any) -> Tensor:
    """The raw latent of a control video [1, C, T, h, w]; zero for the model beyond its end.

    The last picture stands still to the end of the latent frame that it is in.

    Raises:
        InvalidInputError: the control video is no clip of pictures.
    """
    clip, frames = clean_clip(control, "control_video"), video.shape.frames
    if len(clip) > frames:
        logger.info("control_video has %d frames; the first %d are used.", len(clip), frames)
    clip = video.fitted(clip[:frames])
    missing = -(len(clip) - 1) % TEMPORAL_STRIDE
    encoded = video.vae.encode(torch.cat([clip, clip[-1:].expand(missing, -1, -1, -1)]))
    return torch.cat([encoded, video.nothing()[:, :, encoded.shape[2] :]], dim=2)


def _fitting_path(rays: Any, video: _Video) -> Tensor:
    """The rays of a camera's path, if they are for this video.

    Raises:
        InvalidInputError: they are not.
    """
    advice = "Connect Wan Camera Path, with the width, height and frames of this node."
    rays = tensor_of(rays, "camera", "the rays of a camera's path", advice)
    expected = (video.samples.shape[2], video.shape.height, video.shape.width)
    if rays.ndim != 5 or tuple(rays.shape[2:]) != expected:
        raise InvalidInputError(
            f"camera is made for another video ({list(rays.shape)}) than one of {expected[0]} latent frames of "
            f"{expected[2]} x {expected[1]} pixels. {advice}"
        )
    return rays
