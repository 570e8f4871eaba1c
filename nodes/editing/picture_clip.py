"""The clip that an edit of a picture makes, as native conditioning values and for the engine."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.shapes import VideoShape
from ...engine.editing.ends import ends_of
from ...engine.editing.picture import PictureClip
from ..conditioning.clip_image import joined_clip_vision
from ..conditioning.entries import prompts_of, with_values
from ..conditioning.keyframes import keyframe_values
from ..sockets.latents import empty_latent, model_latent
from ..sockets.models import WanModel

_FRAMES_KEYS = ("concat_latent_image", "concat_mask")


class Picture(NamedTuple):
    """A picture [1, H, W, 3] in 0..1, the VAE that encodes it, and the native output of CLIP vision for it, if any."""

    image: Tensor
    vae: Any
    clip_vision: Any

    def blank(self, frames: int) -> dict[str, Any]:
        """The blank LATENT of a clip of so many frames of its size.

        Raises:
            InvalidInputError: its size is none that the models make.
        """
        height, width = self.image.shape[1:3]
        return empty_latent(self.vae, width, height, frames, 1)

    def values(self, frames: int) -> dict[str, Any]:
        """The conditioning values of a clip of so many frames that begins with it."""
        shape = VideoShape(frames, *self.image.shape[1:3])
        values = keyframe_values(self.vae, {0: self.image}, shape, "crop")
        return values | joined_clip_vision(self.clip_vision, None)


class Instruction(NamedTuple):
    """The CONDITIONING of what a picture is to become, and of what to avoid; the shift of the run."""

    positive: list
    negative: list
    shift: float

    def check(self) -> None:
        """Refuses prompts that have given frames of their own.

        Raises:
            InvalidInputError: one has.
        """
        for name in ("positive", "negative"):
            side = getattr(self, name)
            entries = side if isinstance(side, list | tuple) else ()
            if any(isinstance(each[-1], dict) and each[-1].get(_FRAMES_KEYS[0]) is not None for each in entries):
                raise InvalidInputError(
                    f"The {name} conditioning has given frames already, and Wan Edit Picture gives the picture itself. "
                    "Connect Wan Text Encode."
                )

    def clip(self, model: WanModel, values: dict[str, Any], latent: dict[str, Any]) -> PictureClip:
        """The clip of these values for the model.

        Raises:
            WanDirectorError: they do not go together.
        """
        positive = prompts_of(model, with_values(self.positive, values, "positive"), latent, "positive", self.shift)
        negative = prompts_of(model, with_values(self.negative, values, "negative"), latent, "negative", self.shift)
        return PictureClip(positive, negative, model_latent(model, latent))


def ends_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a clip of which only the first and the last latent frame are left."""
    return {key: ends_of(value) if key in _FRAMES_KEYS else value for key, value in values.items()}
