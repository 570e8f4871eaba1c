"""The `noise_mask` of a native LATENT: what of it is made anew, 1, and what is kept, 0."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..common.errors import InvalidInputError
from ..sampling.given import Given, GivenFrames, NothingGiven
from .models import WanModel


def given_frames_of(model: WanModel, latent: dict[str, Any], clean: Tensor) -> Given:
    """The given latent frames that the noise mask of a LATENT marks; `clean` is its `model_latent`.

    Raises:
        InvalidInputError: this model cannot keep frames, or the mask marks parts of frames.
    """
    mask = latent.get("noise_mask")
    if mask is None:
        return NothingGiven()
    if not model.spec.family.given_in_latent:
        raise InvalidInputError(
            "The latent carries a noise mask, and this sampler cannot inpaint. Remove the mask, or use Wan VACE."
        )
    if mask.ndim != 5 or mask.shape[2] != clean.shape[2] or mask.amin((0, 1, 3, 4)).ne(mask.amax((0, 1, 3, 4))).any():
        raise InvalidInputError(
            f"{model.file} keeps whole latent frames, the same in each video of a batch, but the noise mask "
            f"{list(mask.shape)} marks others. Make it with Wan Image To Video."
        )
    return GivenFrames(clean, mask.amax((0, 1, 3, 4)) < 0.5)
