"""What a run is asked for and none of its steps does: LoRAs, parts of guidance, speed control, prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from ....common.checking import has_values
from ....common.log import logger
from ....dit.adapters import AppliedAdapter
from ....dit.branches.speed import SpeedBranch
from ....dit.conditioning.amplified import can_be_amplified
from ....dit.conditioning.characters.subjects import SubjectPicture
from ....sampling.ask import Ask
from ....sampling.experts import Expert
from ....sampling.guidance import (
    NOTHING_SHOWN,
    SOURCE_SHOWN,
    AdaptiveProjected,
    CfgZeroStar,
    StagedContext,
    TangentialDamping,
    formula_of,
    has_course,
    parts_of,
)
from ....sampling.prompts import Prompts
from ....sampling.step import NoiseLevel
from ..asked import Sides
from ..experts import GuidedModel

_FORMULAS: dict[type, str] = {
    CfgZeroStar: "CFG-Zero*",
    AdaptiveProjected: "Adaptive projected guidance",
    TangentialDamping: "Tangential damping",
    StagedContext: "Guidance in stages",
}


def warn_of_idle(
    experts: Mapping[Expert, GuidedModel],
    makers: Sequence[Expert],
    steps: Sequence[NoiseLevel],
    asked: Sequence[Sequence[Ask]],
    sides: Sides,
) -> None:
    """Tells of what has no effect in a run.

    Args:
        makers: who makes each step.
        steps: where each begins.
        asked: the questions of each.
        sides: the prompts.
    """
    if not steps:
        return
    _warn_of_loras(experts, makers)
    _warn_of_parts(experts, makers, steps)
    _warn_of_start_image(experts, makers, sides)
    _warn_of_speed_control(experts, makers)
    _warn_of_second_cfg(experts, makers)
    if not any(asked):
        logger.warning(
            "None of the %d steps of this run asks the model, which the number of zero steps leaves out: its result is "
            "noise. Set that to 0 or 1.", len(steps),
        )  # fmt: skip
        return
    _warn_of_formula(experts, makers, steps, asked)
    _warn_of_stages(asked, sides)
    if not any(ask.side == "negative" or "negative" in ask.reads for ask in chain(*asked)):
        _warn_of_negative(sides)


def _warn_of_loras(experts: Mapping[Expert, GuidedModel], makers: Sequence[Expert]) -> None:
    """Of LoRAs that are active in none of the steps that their models make."""
    parts = {name: [step / len(makers) for step, maker in enumerate(makers) if maker == name] for name in experts}
    loras = [(lora, parts[name]) for name, expert in experts.items() for lora in expert.model.loras if lora.strength]
    active = {_part(lora) for lora, own in loras if any(lora.strength_at(part) for part in own)}
    for name, start, end in dict.fromkeys(_part(lora) for lora, _ in loras):
        if (name, start, end) not in active:
            logger.warning(
                "%s does nothing in this run: none of the %d steps begins in its part from %g to %g. Widen it.",
                name, len(makers), start, end,
            )  # fmt: skip


def _part(lora: AppliedAdapter) -> tuple[str, float, float]:
    return lora.adapter.name, lora.start, lora.end


def _warn_of_parts(
    experts: Mapping[Expert, GuidedModel], makers: Sequence[Expert], steps: Sequence[NoiseLevel]
) -> None:
    """Of guidance whose part of the steps holds none of those that a model makes which it is on."""
    active: dict[str, bool] = {}
    for name, expert in experts.items():
        own = [level for level, maker in zip(steps, makers) if maker == name]
        for what, part in parts_of(expert.guidance):
            active[what] = active.get(what, False) or any(part.holds(level) for level in own)
    for what in (what for what, is_active in active.items() if not is_active):
        logger.warning(
            "%s does nothing in this run: none of the %d steps begins in its part of them. Widen it, or make more "
            "steps.", what, len(steps),
        )  # fmt: skip


def _warn_of_start_image(experts: Mapping[Expert, GuidedModel], makers: Sequence[Expert], sides: Sides) -> None:
    """Of a difference of given and grey frames that is to be amplified where there is none."""
    is_wanted = any(experts[name].model.policies.amplify != 1.0 for name in set(makers))
    prompts = [part.conditioning for side in sides.values() for part in side.parts]
    if is_wanted and _are_known(prompts_of(sides)) and not any(can_be_amplified(prompt) for prompt in prompts):
        logger.warning(
            "The amplified difference of the start image does nothing in this run: no first frame is given, or all "
            "frames are. Give a start image."
        )


def _warn_of_speed_control(experts: Mapping[Expert, GuidedModel], makers: Sequence[Expert]) -> None:
    """Of speed control that was put onto a model and follows nothing."""
    models = [experts[name].model for name in set(makers)]
    idle = [model for model in models if model.spec.config.branch(SpeedBranch) is not None]
    if idle and not any(model.policies.steering for model in idle):
        logger.warning(
            "The speed control of %s does nothing in this run: no motion bucket is set. Set one, 0 to 100.",
            idle[0].file,
        )  # fmt: skip


def _warn_of_second_cfg(experts: Mapping[Expert, GuidedModel], makers: Sequence[Expert]) -> None:
    """Of a cfg of the second expert beside a course of cfg, which counts in its place."""
    high = experts["high"].model
    cfg = None if high.low_noise is None else high.low_noise.cfg
    if cfg is not None and "low" in makers and has_course(experts["low"].guidance):
        logger.warning(
            "The cfg %g of the low-noise expert does nothing in this run: a course of cfg counts in all steps. Write "
            "its part into the course, or set it to 0.", cfg,
        )  # fmt: skip


def _warn_of_formula(
    experts: Mapping[Expert, GuidedModel],
    makers: Sequence[Expert],
    steps: Sequence[NoiseLevel],
    asked: Sequence[Sequence[Ask]],
) -> None:
    """Of a way to weigh the prompts where no step asks for the negative one."""
    if any(ask.side == "negative" for ask in chain(*asked)):
        return
    formulas = [formula_of(experts[maker].guidance, level) for level, maker in zip(steps, makers)]
    idle = {type(each): _FORMULAS[type(each)] for each in formulas if type(each) in _FORMULAS}
    if len(asked) > sum(map(bool, asked)):
        idle.pop(CfgZeroStar, None)  # its zero steps count
    for what in idle.values():
        logger.warning("%s does nothing in this run: at cfg 1 no step asks for the negative prompt. Raise cfg.", what)


def _warn_of_stages(asked: Sequence[Sequence[Ask]], sides: Sides) -> None:
    """Of passes that ask what the model makes without a source video or references, where it is the same with them."""
    clips = [clip for part in sides["negative"].parts for clip in part.conditioning.in_context]
    sources, asks = sum(clip.is_source for clip in clips), set(chain(*asked))
    idle, way = "", ""
    if not clips and asks & {SOURCE_SHOWN, NOTHING_SHOWN}:
        idle, way = "there is no source video and no reference in the negative prompt", "Choose the formula cfg"
    elif SOURCE_SHOWN in asks and any(isinstance(clip, SubjectPicture) for clip in clips):
        idle, way = "the pictures are those of Phantom", "Choose the formula phantom"
    elif sources == len(clips) and SOURCE_SHOWN in asks:
        idle, way = "there is no reference beside the source video", "Set the scale of references to that of the video"
    elif not sources and {SOURCE_SHOWN, NOTHING_SHOWN} <= asks:
        idle, way = "there is no source video", "Set the scale of the video to 1"
    if idle:
        logger.warning("A pass of each step is for nothing: guidance is in stages, and %s. %s.", idle, way)


def prompts_of(sides: Sides) -> Iterable[Tensor]:
    """The texts of a run."""
    return (part.conditioning.text for side in sides.values() for part in side.parts)


def _are_known(texts: Iterable[Tensor]) -> bool:
    """Whether there are numbers: a plan has none."""
    return all(has_values(text) for text in texts)


def _warn_of_negative(sides: Sides) -> None:
    """Of a negative prompt that somebody wrote and that is not asked."""
    positive, negative = sides["positive"], sides["negative"]
    if _are_known(prompts_of(sides)) and _says_something(negative, positive):
        logger.warning(
            "The negative prompt has no effect in this run: at cfg 1 no step asks for it. Raise cfg, which takes twice "
            "the time, or use normalized attention guidance (NAG), which needs no pass of its own."
        )


def _says_something(negative: Prompts, positive: Prompts) -> bool:
    """Whether a side was written by somebody, and is neither empty nor the other one."""
    written = [part.conditioning.text for part in negative.parts if part.conditioning.is_written]
    others = [part.conditioning.text for part in positive.parts]
    return any(
        _tokens(text) > 1 and not any(text.shape == other.shape and torch.equal(text, other) for other in others)
        for text in written
    )


def _tokens(text: Tensor) -> int:
    """How many tokens a text [1 or B, tokens, width] has; an empty one has that of its end, a zeroed one none."""
    return int(text.count_nonzero(dim=-1).count_nonzero(dim=-1).max())
