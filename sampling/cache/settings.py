"""A step cache as a user sets it up, and what it becomes for a model."""

from __future__ import annotations

from typing import Literal

from ...common.errors import InvalidInputError
from ...common.records import record
from ...dit.config import DiTConfig
from ..validation import find_choice
from .easy_cache import TransformationRate
from .figures import figures_of
from .mag_cache import MagnitudeRatios
from .reuse import BlocksChange, OutputChange
from .step_cache import Part, StepCache
from .tea_cache import TimeEmbedding

Method = Literal["easycache", "magcache", "teacache"]
USUAL_RATE_THRESHOLD = 0.2
"""Of easycache, as ComfyUI has it."""


@record
class StepCacheSettings:
    """What a user chooses.

    Attributes:
        method: one of `Method`.
        threshold: see `StepCache`; None for the usual one of the method and the model.
        part, most_in_a_row: see `StepCache`.
    """

    method: str
    threshold: float | None
    part: Part
    most_in_a_row: int

    def of(self, config: DiTConfig, name: str, ratios: tuple[float, ...] = (), *, is_pair: bool = False) -> StepCache:
        """The cache of a model.

        Args:
            name: of the model, for messages.
            ratios: a table of one's own for MagCache.
            is_pair: see `figures_of`.

        Raises:
            InvalidInputError: nothing that the method needs is known of the model, or a number is out of its bounds.
        """
        figures = figures_of(config, is_pair=is_pair)
        makers = {
            "easycache": lambda: (TransformationRate(), OutputChange(), USUAL_RATE_THRESHOLD),
            "magcache": lambda: (MagnitudeRatios(ratios or figures.ratios), BlocksChange(), figures.ratio_threshold),
            "teacache": lambda: (TimeEmbedding(figures.coefficients), BlocksChange(), figures.time_threshold),
        }
        make = find_choice(makers, self.method, "step cache")
        if self.method == "magcache" and not (ratios or figures.ratios):
            raise InvalidInputError(
                f"MagCache needs a table of ratios, and none is known of {name} ({_form(config)}). Record one by a run "
                "with the method record, or choose easycache, which needs none."
            )
        if self.method == "teacache" and not figures.coefficients:
            raise InvalidInputError(
                f"TeaCache needs coefficients of the model, and none are known of {name} ({_form(config)}). Choose "
                "easycache, which needs none."
            )
        estimate, reuse, usual = make()
        threshold = usual if self.threshold is None else self.threshold
        return StepCache(estimate, reuse, threshold, self.part, self.most_in_a_row)


def _form(config: DiTConfig) -> str:
    return f"{config.layers} blocks of width {config.dim}, {config.in_channels} input channels"
