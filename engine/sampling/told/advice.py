"""Settings of a run that do not go together, in words: steps, cfg and shift against the model and its LoRAs.

Nothing is changed and nothing refused. What may be meant is passed over: a line stands for settings that spoil a video.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ....model_loading.publishing.few_steps import Telling

MOST_FEW_STEPS, FEWEST_FULL_STEPS = 12, 8
"""Distilled weights make 4 to 8 steps, some 12; others need 20 and more, and few people go below 10."""
MOST_DISTILLED_CFG = 2.5
"""Distilled weights have guidance in them: cfg 1, for more motion up to 2."""
FULL_STRENGTH = 0.5
"""From which strength on a LoRA counts as put on: below it some take it as a help in a run of many steps."""
FAR = 2.0
"""A shift this many times beyond the usual ones is far off."""

# Preset -> the lowest and the highest shift that the official code, ComfyUI's templates and the models' pages use.
USUAL_SHIFTS: Mapping[str, tuple[float, float]] = MappingProxyType({
    "t2v-1.3B": (3.0, 12.0),
    "t2v-14B": (3.0, 12.0),
    "i2v-14B": (3.0, 8.0),
    "flf2v-14B": (3.0, 16.0),
    "i2v-A14B": (3.0, 8.0),
    "animate2-14B": (3.0, 8.0),
    "ti2v-5B": (3.0, 8.0),
    "lucy-edit-5B": (3.0, 8.0),
    "fun-inp-1.3B": (3.0, 8.0),
    "fun-inp-5B": (3.0, 8.0),
    "fun-control-1.3B": (3.0, 8.0),
    "fun-control-14B": (3.0, 8.0),
    "fun-control-1.1-1.3B": (3.0, 8.0),
    "fun-control-1.1-14B": (3.0, 8.0),
    "fun-control-A14B": (3.0, 8.0),
    "fun-control-5B": (3.0, 8.0),
    "fun-camera-1.3B": (3.0, 8.0),
    "fun-camera-14B": (3.0, 8.0),
    "fun-camera-A14B": (3.0, 8.0),
    "animate-14B": (3.0, 8.0),
    "scail-14B": (3.0, 8.0),
    "scail2-1.3B": (3.0, 8.0),
    "scail2-14B": (3.0, 8.0),
    "s2v-14B": (3.0, 12.0),
    "humo-1.7B": (3.0, 12.0),
    "humo-17B": (3.0, 12.0),
    "dancer-14B": (3.0, 8.0),
    "dancer-14B-without-reference": (3.0, 8.0),
    "vace-1.3B": (3.0, 16.0),
    "vace-14B": (3.0, 16.0),
})  # fmt: skip


class LoraFacts(NamedTuple):
    """A LoRA that is on in a run, its strength and the part of the run; what tells that it is for few steps."""

    name: str
    strength: float
    for_all_steps: bool
    few_steps: Telling | None


class ModelFacts(NamedTuple):
    """A model of a run: its file, its preset if it has a published size, its cfg, what tells that it is distilled."""

    name: str
    preset: str | None
    cfg: float
    few_steps: Telling | None
    loras: tuple[LoraFacts, ...] = ()


class RunFacts(NamedTuple):
    """The settings of a run.

    `steps`: of its whole schedule, of which it may make a part. `shift`: None where noise levels of one's own replace
    it. `from_noise`: whether a whole video is made from plain noise, not one changed a little.
    """

    steps: int
    shift: float | None
    from_noise: bool
    models: Sequence[ModelFacts]


def advice(run: RunFacts) -> list[str]:
    """A sentence for each thing that does not go together; none for usual settings."""
    told = [*_many_steps(run), *_guided_twice(run), *_few_steps(run), *_shift(run)]
    return list(dict.fromkeys(told))


def _many_steps(run: RunFacts) -> Iterator[str]:
    if run.steps <= MOST_FEW_STEPS:
        return
    for model in run.models:
        for name, what, told, way in _distilled(model, needs_all_steps=True):
            yield (
                f"{run.steps} steps with {name}, {what} for few steps{told}: the picture becomes harsh. Use 4 to 8 "
                f"steps at cfg 1, or {way}."
            )


def _guided_twice(run: RunFacts) -> Iterator[str]:
    for model in run.models:
        if model.cfg <= MOST_DISTILLED_CFG:
            continue
        for name, what, told, way in _distilled(model):
            yield (
                f"cfg {model.cfg:g} with {name}, {what} for few steps at cfg 1{told}: the picture becomes harsh, in "
                f"twice the time. Use cfg 1, or {way}."
            )


def _few_steps(run: RunFacts) -> Iterator[str]:
    """Only where no LoRA is on: what one that is not known here was trained for, nothing tells."""
    if run.steps >= FEWEST_FULL_STEPS or not run.from_noise:
        return
    for model in run.models:
        if model.preset is None or model.few_steps is not None or model.loras:
            continue
        steps = "1 step" if run.steps == 1 else f"{run.steps} steps"
        yield (
            f"{steps} with {model.name} and no LoRA for few steps: the video stays blurred, unless the model is "
            "distilled, which its name does not say. Use 20 to 50 steps, or a LoRA for 4 steps at cfg 1."
        )


def _shift(run: RunFacts) -> Iterator[str]:
    for model in run.models:
        usual = USUAL_SHIFTS.get(model.preset or "")
        if usual is None or run.shift is None:
            continue
        low, high = usual
        too_low = run.shift < low / FAR and next(_distilled(model), None) is None  # some of those want 1
        if too_low or run.shift > high * FAR:
            what = "leaves too little time at high noise, where the video is laid out"
            what = what if too_low else "leaves too little time at low noise, where details arise"
            yield f"shift {run.shift:g} with {model.name} {what}: usual are {low:g} to {high:g}."


def _distilled(model: ModelFacts, *, needs_all_steps: bool = False) -> Iterator[tuple[str, str, str, str]]:
    """(name, what it is, what tells it, what else to do) of the distilled weights of a model."""
    if model.few_steps is not None:
        yield model.name, "a model", _told(model.few_steps), "choose the model that is not distilled"
    for lora in model.loras:
        is_on = lora.strength >= FULL_STRENGTH and (lora.for_all_steps or not needs_all_steps)
        if is_on and lora.few_steps is not None:
            yield lora.name, "a LoRA", _told(lora.few_steps), "take the LoRA away"


def _told(telling: Telling) -> str:
    return "" if telling == "known" else f" {telling}"
