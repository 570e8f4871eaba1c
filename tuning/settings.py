"""The settings of a training as a TOML file says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..common.checking import choice_of
from ..common.errors import InvalidInputError
from ..common.records import record
from ..common.shapes import VideoShape, check_frames
from ..sampling.validation import check_seed
from .datasets.finding import read_toml
from .fitting.settings import TrainingMemory
from .learner import OptimiserSettings
from .loop import TrainingCourse
from .new_adapter import AdapterSettings
from .noise import NoiseLevels

Settings = TypeVar("Settings")
GivenKind = Literal["none", "first", "first_last"]
GIVEN_KINDS: tuple[GivenKind, ...] = ("none", "first", "first_last")


@record
class ModelFiles:
    """The files that are trained with, by the names that they have in the model folders, or their paths.

    Attributes:
        diffusion_model: the transformer; of two experts that for high noise.
        precision: of the transformer, as of its loader.
        low_noise_model: the expert for low noise, which is trained after the other; empty for one model.
        boundary: the noise, 0..1, at which the experts take turns; 0 for that which they were made with.

    Raises:
        InvalidInputError: a boundary that is none, or for one model alone.
    """

    diffusion_model: str
    text_encoder: str
    vae: str
    precision: str = "auto"
    low_noise_model: str = ""
    boundary: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.boundary < 1:
            raise InvalidInputError(
                f"The boundary of two experts is a noise between 0 and 1, got {self.boundary:g}. Use 0.875 for "
                "T2V-A14B, 0.9 for I2V-A14B, or 0 for what the models were made with."
            )
        if self.boundary and not self.low_noise_model:
            raise InvalidInputError(
                f"[model] has a boundary of {self.boundary:g} and one model alone. Name the other as low_noise_model, "
                "or give the range of this one as lowest or highest of [noise]."
            )


@record
class DatasetSettings:
    """What is learned from.

    Attributes:
        source: a folder, a .jsonl or a .toml, from the folder of the settings on.
        resolution, frames: of a folder or .jsonl.
        given: frames of each clip that the model is told: none, the first, or the first and the last.
        caption_drop: the part of the steps that see no caption.
    """

    source: str
    resolution: tuple[int, int] = (832, 480)
    frames: tuple[int, ...] = ()
    given: GivenKind = "none"
    caption_drop: float = 0.05

    def __post_init__(self) -> None:
        choice_of(self.given, GIVEN_KINDS, "given")
        if not 0 <= self.caption_drop <= 1:
            raise InvalidInputError(f"caption_drop is a part, 0 to 1, got {self.caption_drop:g}. Use 0.05.")


@record
class PriorSettings:
    """What is to stay: clips of more general prompts, made by the model itself before it learns, or given.

    Attributes:
        prompts: of the clips; none for no prior.
        copies: of each prompt, of seeds of their own.
        weight: in the loss.
        width, height, frames: of the clips.
        steps, cfg, shift: that they are made with.
        batch: of them in each step.
        source: of clips that are given, in place of prompts: a folder, a .jsonl or a .toml, as that of the dataset.
    """

    prompts: tuple[str, ...] = ()
    copies: int = 1
    weight: float = 1.0
    width: int = 832
    height: int = 480
    frames: int = 1
    steps: int = 20
    cfg: float = 5.0
    shift: float = 5.0
    batch: int = 1
    source: str = ""


@record
class SampleSettings:
    """Pictures or clips that are sampled while a training goes on, to see what is learned so far.

    Attributes:
        prompts: of the samples; none for no samples.
        every: steps between two of each; the first are made before the first step, the last after the last.
        seed: of all of them.
        width, height, frames: of each.
        steps, cfg, shift: that they are made with.

    Raises:
        InvalidInputError: prompts that are no texts, or numbers that make no sample.
    """

    prompts: tuple[str, ...] = ()
    every: int = 100
    seed: int = 0
    width: int = 832
    height: int = 480
    frames: int = 1
    steps: int = 20
    cfg: float = 5.0
    shift: float = 5.0

    def __post_init__(self) -> None:
        if not all(isinstance(prompt, str) for prompt in self.prompts):
            raise InvalidInputError(
                f"The prompts of [samples] are texts, got {list(self.prompts)}. Put them in quotes."
            )
        if min(self.every, self.steps, self.width, self.height) < 1 or not self.shift > 0:
            raise InvalidInputError(
                "Samples are made every 1 step or more, have sides, steps of 1 or more and a shift above 0, got "
                f"{self.every}, {self.width} x {self.height}, {self.steps} and {self.shift:g}. Use 100, 832 x 480, 20 "
                "and 5."
            )
        check_seed(self.seed)
        check_frames(self.frames)

    @property
    def video(self) -> VideoShape:
        """The size of each."""
        return VideoShape(self.frames, self.height, self.width)

    def are_due(self, step: int, steps: int) -> bool:
        """Whether they are made after so many steps of so many."""
        return bool(self.prompts) and (step % self.every == 0 or step == steps)


@record
class OutputSettings:
    """Where the file goes: `folder` from that of the settings on; `save_every`: steps after which a run can go on."""

    name: str
    folder: str = "."
    trigger: str = ""
    save_every: int = 100


@record
class TrainingSettings:
    """All of it; `folder`: of the file, from which paths start."""

    model: ModelFiles
    dataset: DatasetSettings
    output: OutputSettings
    lora: AdapterSettings = field(default_factory=AdapterSettings)
    noise: NoiseLevels = field(default_factory=NoiseLevels)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    training: TrainingCourse = field(default_factory=TrainingCourse)
    prior: PriorSettings = field(default_factory=PriorSettings)
    samples: SampleSettings = field(default_factory=SampleSettings)
    memory: TrainingMemory = field(default_factory=TrainingMemory)
    folder: Path = Path(".")


def decisive(settings: TrainingSettings) -> TrainingSettings:
    """The part that the numbers of a training depend on: not where things lie, and how it is kept and shown."""
    return replace(
        settings,
        folder=Path("."),
        dataset=replace(settings.dataset, source=""),
        output=replace(settings.output, save_every=1, folder=""),
        samples=SampleSettings(),
        memory=TrainingMemory(),
    )


_SECTIONS: Mapping[str, type] = {
    "model": ModelFiles, "dataset": DatasetSettings, "output": OutputSettings, "lora": AdapterSettings,
    "noise": NoiseLevels, "optimiser": OptimiserSettings, "training": TrainingCourse, "prior": PriorSettings,
    "samples": SampleSettings, "memory": TrainingMemory,
}  # fmt: skip


def read_settings(path: Path) -> TrainingSettings:
    """The settings in a file.

    Raises:
        MissingFileError: there is no such file.
        InvalidInputError: something is missing, unknown, or cannot be.
    """
    table = read_toml(path)
    unknown = sorted(set(table) - set(_SECTIONS))
    if unknown:
        raise InvalidInputError(f"{path.name} has sections {unknown}, but known are {', '.join(_SECTIONS)}.")
    missing = [name for name in ("model", "dataset", "output") if name not in table]
    if missing:
        raise InvalidInputError(f"{path.name} lacks the sections {', '.join(missing)}. Add them.")
    made = {name: _settings(_SECTIONS[name], values, f"[{name}] of {path.name}") for name, values in table.items()}
    return TrainingSettings(**made, folder=path.parent)


def _settings(kind: type[Settings], values: Any, where: str) -> Settings:
    known = {each.name: each for each in fields(kind)}  # pyright: ignore[reportArgumentType]
    if not isinstance(values, dict) or set(values) - set(known):
        unknown = sorted(set(values) - set(known)) if isinstance(values, dict) else values
        raise InvalidInputError(f"{where} has {unknown}, but known are {', '.join(known)}.")
    lacking = [name for name, each in known.items() if name not in values and _is_needed(each)]
    if lacking:
        raise InvalidInputError(f"{where} lacks {', '.join(lacking)}. Add {'it' if len(lacking) == 1 else 'them'}.")
    return kind(**{name: _value(str(known[name].type), value, f"{name} in {where}") for name, value in values.items()})


def _is_needed(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _value(wanted: str, value: Any, where: str) -> Any:
    """A value as the field takes it."""
    if wanted.startswith("tuple"):
        if isinstance(value, list):
            return tuple(value)
    elif wanted == "float":
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif wanted in ("int", "bool", "str"):
        if type(value).__name__ == wanted:
            return value
    elif isinstance(value, str):
        return value
    raise InvalidInputError(f"{where} is {value!r}, but it is to be {_form_of(wanted)}. Correct it there.")


def _form_of(wanted: str) -> str:
    if wanted.startswith("tuple"):
        return "a list in [brackets]"
    return {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(wanted, 'a text in "quotes"')
