"""What a chunk of a video of people who speak begins with: its start image, and the frames that the model is shown."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...common.errors import InvalidInputError
from ...dit.conditioning.audio.talk import TalkScene
from ..conditioning.entries import with_values
from ..conditioning.items import with_item
from ..conditioning.keyframes import given_frames, keyframe_values
from ..sockets.latents import family_of
from .chunk import Chunk
from .speech import ShapedPictures


def shown_frames(chunk: Chunk, pictures: ShapedPictures, start: Tensor) -> Tensor:
    """The normalised latent of the frames that the model is shown in their places; `start`: that of the start image."""
    shown = start[:, :, :1] if chunk.previous is None else pictures.encoded(chunk.previous[-chunk.motion :])
    return family_of(pictures.vae).normalize(shown.float())


def start_values(pictures: ShapedPictures, start_image: Any) -> dict[str, Any]:
    """The conditioning values of the first frames.

    Raises:
        InvalidInputError: the pictures are none, or the VAE is another model's.
    """
    vae, shape, fit = pictures
    if family_of(vae).given_in_latent:
        raise InvalidInputError(
            "InfiniteTalk works on latents of the Wan 2.1 VAE, and this VAE is that of TI2V-5B. Load "
            "wan_2.1_vae.safetensors."
        )
    return keyframe_values(vae, given_frames(shape.frames, start_image, None, ()), shape, fit)


def talking_sides(positive: list, negative: list, values: dict[str, Any], scene: TalkScene) -> list[list]:
    """Both native CONDITIONINGs with a start image and what is said: both sides of the guidance hear it."""
    return [with_item(with_values(side, values), scene) for side in (positive, negative)]
