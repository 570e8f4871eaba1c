"""What is refused before a clip is enlarged and encoded, which takes minutes."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...common.empty_tensors import empty
from ...common.shapes import VideoShape
from ...engine.sampling.settings import SamplerSettings
from ...engine.tasks import latent_shape
from ...model_loading.pairing import check_pair
from ..conditioning.entries import prompts_of
from ..sockets.latents import family_of, made_by
from ..sockets.models import WanModel


class Tools(NamedTuple):
    """What a clip is made larger with: a VAE, its conditioning, and perhaps a network for pictures."""

    vae: Any
    sides: tuple[list, list]
    upscale_model: Any = None


def check_tools(model: WanModel, tools: Tools, video: VideoShape, settings: SamplerSettings) -> None:
    """Refuses what sampling would refuse after all frames are encoded.

    Args:
        video: the large one.

    Raises:
        WanDirectorError: model, VAE, conditioning and settings do not go together.
    """
    spec = getattr(tools.vae, "spec", None)
    if spec is not None:
        check_pair(model.spec, spec)
    settings.noise_schedule()
    settings.find_solver()
    outline = {"samples": empty(1, *latent_shape(family_of(tools.vae), video))} | made_by(tools.vae)
    for side, words in zip(tools.sides, ("positive", "negative")):
        prompts_of(model, side, outline, words, settings.shift)
