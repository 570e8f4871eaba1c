"""A clip made larger, between native values: from IMAGE and CONDITIONING to LATENT."""

from __future__ import annotations

from typing import Any

from ...common.checking import instance_of
from ...common.log import logger
from ...common.shapes import PictureSize, VideoShape
from ...engine.memory import AUTOMATIC, MemorySettings
from ...engine.sampling.settings import SamplerSettings
from ...media.pictures import clean_clip, cut_share
from ..options.memory import with_memory
from ..options.tiles import ByPixels
from ..sockets.latents import check_video_size, family_of, tagged_latent
from ..sockets.models import WanModel
from ..sockets.sampling import sampled
from .checks import Tools, check_tools
from .enlarged import encoded, enlarging_of
from .parts import seen_in_parts
from .target import Target


def upscaled(
    model: WanModel,
    tools: Tools,
    images: Any,
    target: Target,
    tiles: ByPixels,
    settings: SamplerSettings,
    memory: MemorySettings | None,
) -> dict[str, Any]:
    """The LATENT of the larger clip.

    Raises:
        WanDirectorError: what of all these does not go together, before anything is computed.
    """
    instance_of(model, WanModel, "model", "the model of Load Wan Model")
    memory = AUTOMATIC if memory is None else memory
    instance_of(memory, MemorySettings, "memory", "the settings of Wan Memory")
    family, vae = family_of(tools.vae), with_memory(tools.vae, memory)
    clip = clean_clip(images, "images")
    have = PictureSize(clip.shape[2], clip.shape[1])
    size = target.size(have, family.size_multiple)
    check_video_size(*size, len(clip), family)
    seen: Any = seen_in_parts(model, tiles, len(clip))
    enlarging = enlarging_of(tools.upscale_model, size, model.runtime)
    check_tools(model, tools, VideoShape(len(clip), size.height, size.width), settings)
    cut = 100 * cut_share(have, size)
    words = f"; {cut:.1f} % of each frame are cut off" if cut else ""
    logger.info("The clip of %d x %d becomes %d x %d%s.", *have, *size, words)
    latent = tagged_latent(encoded(vae, clip, enlarging), vae)
    return sampled(seen, tools.sides, latent, settings, memory)[0]
