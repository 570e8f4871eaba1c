"""The preview that whoever watches a run wishes for, as far as it can be had: a run never fails for it."""

from __future__ import annotations

from ...common.errors import WanDirectorError
from ...common.families import Family
from ...common.log import logger
from ...model_loading.kinds import PREVIEW_DECODER
from ..loaded import place
from ..recipe import ModelRecipe
from ..runtime import Runtime
from .moving import PreviewWish
from .preview import NO_PREVIEW, ColourPreview, Preview, SharpPreview


def wished_preview(runtime: Runtime, family: Family) -> Preview:
    """How a run of a model of this family is shown."""
    wish = runtime.preview_wish(family)
    if wish is None:
        return NO_PREVIEW
    return _sharp(wish, runtime, family) or ColourPreview(family)


def _sharp(wish: PreviewWish, runtime: Runtime, family: Family) -> Preview | None:
    if wish.decoder is None:
        return None
    try:
        placed = place(ModelRecipe(wish.decoder, PREVIEW_DECODER.name), runtime)
    except WanDirectorError as error:
        logger.warning("The previews are blurred: %s", error)
        return None
    if placed.spec.family != family:
        logger.warning(
            "The previews are blurred: %s is %s, and this is a video of %s. Take it out of %s or rename it.",
            placed.file, placed.spec.title, family.title, PREVIEW_DECODER.folder,
        )  # fmt: skip
        return None
    return SharpPreview(placed, wish.side)
