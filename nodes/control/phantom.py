"""The node that prepares a video of subjects that pictures show (Phantom)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.checking import choice_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...media.pictures import FITS, fit_pictures
from ..api import io, one_sentence
from ..conditioning.families.subjects import MOST_SUBJECTS, with_blank_pictures, with_pictures
from ..image import CATEGORY, batch_input, size_inputs
from ..pictures.sockets import picture_inputs, pictures_of
from ..sockets.latents import check_video_size, check_wan_2_1, empty_latent


class WanDirectorPhantom(io.ComfyNode):
    """The conditioning and latent of a video for Phantom."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorPhantom",
            display_name="Wan Phantom",
            category=CATEGORY,
            description="Prepares a video for Phantom: people, animals and things of up to four pictures, which the "
            "prompt describes and puts into a scene.",
            search_aliases=[
                "phantom", "WanPhantomSubjectToVideo", "subject to video", "reference to video", "character", "s2v",
                "wan phantom",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded positive prompt, which describes each subject."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE, which encodes the pictures and will decode the video."),
                *size_inputs(),
                batch_input(),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="pad",
                    tooltip="How pictures of another shape come to the video's size: pad adds white bars, as in the "
                    "training, crop cuts off what stands over (centred), stretch distorts.",
                ),
                *picture_inputs(
                    MOST_SUBJECTS,
                    "Somebody or something that the video shows, on a plain ground. A batch is several pictures; four "
                    "in all.",
                    "One more subject, of any shape, or a batch of several.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with the pictures."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the pictures."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this size, for the Wan Sampler."),
                io.Conditioning.Output(
                    display_name="negative_img_text",
                    tooltip="The negative prompt with blank pictures, as the third of ComfyUI's Dual CFG Guider. Wan "
                    "Sampler does not need it: choose the formula phantom in Wan Guidance.",
                ),
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
        reference_image_1: Any = None,
        reference_image_2: Any = None,
        reference_image_3: Any = None,
        reference_image_4: Any = None,
    ) -> Any:
        latent = empty_latent(vae, width, height, frames, batch_size)
        piles = (reference_image_1, reference_image_2, reference_image_3, reference_image_4)
        fitting = choice_of(fit, FITS, "fit")
        pictures = [fit_pictures(each, width, height, fitting, bars=1.0) for each in subjects(piles, vae)]
        encoded = torch.cat([vae.encode(each) for each in pictures], dim=2)
        sides = [with_pictures(vae, side, encoded) for side in (positive, negative)]
        return io.NodeOutput(*sides, latent, with_blank_pictures(vae, negative, encoded))


def subjects(piles: tuple[Any, ...], vae: Any) -> list[Tensor]:
    """The pictures [1, H, W, 3] of all subjects, each in its own shape, on white.

    Raises:
        InvalidInputError: there are none, they are no pictures, or the VAE is that of TI2V-5B.
    """
    pictures = pictures_of(piles, ground=1.0)
    if not pictures:
        raise InvalidInputError("No picture is given. Connect a reference_image, or use Wan Empty Latent.")
    check_wan_2_1(vae, "Phantom")
    if len(pictures) > MOST_SUBJECTS:
        logger.info(
            "%d pictures of subjects: Phantom was trained with up to %d, and more are told apart less well.",
            len(pictures), MOST_SUBJECTS,
        )  # fmt: skip
    return pictures
