"""The two experts of Wan 2.2 A14B in one training: each learns in its own range of noise, and they sample together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..common.records import record
from ..dit.adapters import Adapter, AppliedAdapter
from ..dit.presets import expert_boundary
from ..engine import ModelRecipe, VideoModel, with_low_noise
from ..model_loading.kinds import DIT
from ..model_loading.outline import outline
from ..model_loading.pairing import check_experts
from ..sampling.experts import Expert
from .settings import OutputSettings, TrainingSettings

_SUFFIXES: Mapping[Expert, str] = {"high": "_high_noise", "low": "_low_noise"}


class ExpertRun(NamedTuple):
    """One of the trainings that settings ask for.

    Attributes:
        settings: of this one, with its own range of noise and the name of its own file.
        expert: that learns; "high" where there is one model alone.
        model: its file.
        partner: the file of the other expert; None where there is one model alone.
    """

    settings: TrainingSettings
    expert: Expert
    model: Path
    partner: Path | None = None


def expert_runs(settings: TrainingSettings, high: Path, low: Path | None) -> tuple[ExpertRun, ...]:
    """The trainings that settings ask for, in their order.

    Args:
        high: the file of `diffusion_model`; one that is not there is known by its name if it is a published one.
        low: likewise, of `low_noise_model`; None where none is named.

    Raises:
        PairingError: the files are not two experts of one model.
        InvalidInputError: the range of noise leaves an expert nothing.
    """
    if low is None:
        return (ExpertRun(settings, "high", high),)
    precision: Any = settings.model.precision
    first, second = (outline(path, DIT, precision).spec for path in (high, low))
    check_experts(first, second)
    boundary, noise = settings.model.boundary or expert_boundary(first.config) / 1000, settings.noise
    ranges: Mapping[Expert, Any] = {
        "high": replace(noise, lowest=max(noise.lowest, boundary)),
        "low": replace(noise, highest=min(noise.highest, boundary)),
    }
    files: Mapping[Expert, tuple[Path, Path]] = {"high": (high, low), "low": (low, high)}
    outputs: Mapping[Expert, OutputSettings] = {
        expert: replace(settings.output, name=settings.output.name + end) for expert, end in _SUFFIXES.items()
    }
    return tuple(
        ExpertRun(replace(settings, noise=ranges[expert], output=output), expert, *files[expert])
        for expert, output in outputs.items()
    )


@record(eq=False)
class Alone:
    """A model that samples by itself."""

    def of(self, model: VideoModel) -> VideoModel:
        """What samples, with this model in it."""
        return model

    def key(self) -> tuple[str, ...]:
        """What tells it from others: a value for `digest`."""
        return ()


@record(eq=False)
class Partner:
    """The other expert, with which one samples.

    Attributes:
        model: it.
        expert: which of the two the one that learns is.
    """

    model: VideoModel
    expert: Expert

    def of(self, model: VideoModel) -> VideoModel:
        """What samples: the pair with this model in it."""
        return with_low_noise(model, self.model) if self.expert == "high" else with_low_noise(self.model, model)

    def key(self) -> tuple[str, ...]:
        """What tells it from others: a value for `digest`."""
        return (key_of(self.model.recipe), self.expert)


ALONE = Alone()


def key_of(recipe: ModelRecipe) -> str:
    """What tells a model's weights from others, from whichever folder and by whichever link they are named."""
    return str(replace(recipe, path=recipe.path.resolve()).key())


def learned_on(model: VideoModel, adapter: Adapter) -> VideoModel:
    """The model with what is learned on it, as a LoRA at strength 1."""
    return replace(model, loras=(AppliedAdapter(adapter),))
