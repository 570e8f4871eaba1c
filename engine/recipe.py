"""What a model is made of, as a value: it can be sent to another process, and two equal ones give equal models."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

from ..common.records import record
from ..model_loading.build import model_key
from ..model_loading.precision import Precision, kept_as


@record
class LoraRecipe:
    """A LoRA on a video model.

    Attributes:
        path: its file.
        strength: 1 as trained, 0 off.
        blocks: the blocks it changes; None for the whole model.
        start, end: in which part of a run's steps it is active, 0..1.
        merge: summed into the weights as they are used, rather than computed beside them.
        is_second_expert: of a file with LoRAs for both experts, the one for low noise is taken.
    """

    path: Path
    strength: float = 1.0
    blocks: frozenset[int] | None = None
    start: float = 0.0
    end: float = 1.0
    merge: bool = False
    is_second_expert: bool = False


@record
class LowNoiseRecipe:
    """The model of the last steps.

    Attributes:
        model: its file and LoRAs.
        cfg: its own guidance scale; None for that of the run.
        high_steps: how many steps the other expert makes; 0 as trained.
    """

    model: ModelRecipe
    cfg: float | None = None
    high_steps: int = 0


@record
class ModelRecipe:
    """A model: its files, and how they are used. Frozen, hashable, and small to pickle: it holds no weights.

    Attributes:
        path: a file, a folder of parts or an index.
        kind: which part of a video model it is, see `model_loading.kinds`.
        precision: see `model_loading.precision.choose_dtype`.
        device: auto, cpu or gpu.
        attention: of a transformer, a name in `dit.attention.ATTENTION`.
        fp32_residual: of a transformer, see `dit.model.WanDiT`.
        vace_module, speed_module, uni3c_module, infinitetalk_module: the files of modules to add to a transformer.
        loras: on a transformer, in order.
        low_noise: takes over from a transformer in a run.
    """

    path: Path
    kind: str = "dit"
    precision: Precision = "auto"
    device: str = "auto"
    attention: str = "auto"
    fp32_residual: bool = False
    vace_module: Path | None = None
    loras: tuple[LoraRecipe, ...] = ()
    low_noise: LowNoiseRecipe | None = None
    speed_module: Path | None = None
    uni3c_module: Path | None = None
    infinitetalk_module: Path | None = None

    @property
    def modules(self) -> tuple[tuple[str, Path], ...]:
        """The kinds and files of what is added to a transformer, in order."""
        named = (
            ("vace_module", self.vace_module),
            ("speed_module", self.speed_module),
            ("uni3c_module", self.uni3c_module),
            ("infinitetalk_module", self.infinitetalk_module),
        )
        return tuple((kind, path) for kind, path in named if path is not None)

    @property
    def weights(self) -> ModelRecipe:
        """The part of it that says which weights lie in memory; how a run computes with them is not among it."""
        precision = kept_as(self.precision) if self.kind == "dit" else self.precision
        return replace(self, precision=precision, attention="auto", loras=(), low_noise=None)

    @property
    def alone(self) -> ModelRecipe:
        """The model without what is put onto it."""
        return replace(self, loras=(), low_noise=None)

    def key(self) -> Hashable:
        """To keep the loaded weights by: files that have changed, or come, give another key."""
        files = (self.path, *(path for _, path in self.modules))
        return self.weights, tuple(file_stamp(file) for file in files)


def file_stamp(file: Path) -> Hashable:
    """By what a changed file of a model is known; None where there is none."""
    try:
        return model_key(file).stamp
    except OSError:  # what reads it says so
        return None
