"""One run of the sampling loop: device, memory, progress, preview and interruption around it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import or_
from typing import NamedTuple

import torch
from torch import Tensor

from ..common.checking import check_number
from ..common.families import Family
from ..common.log import logger
from ..common.shapes import LatentShape, VideoShape, check_bounds, check_frames, check_size, video_frames
from ..dit.adapters import AppliedAdapter
from ..dit.footprint import pass_shape
from ..dit.inputs import Conditioning
from ..dit.presets import expert_boundary
from ..memory.plan import Choice, Task, smallest_bytes
from ..sampling.ask import Ask, Side
from ..sampling.denoiser import Denoiser
from ..sampling.experts import Expert, Handover
from ..sampling.given import NOTHING_GIVEN, Given
from ..sampling.guidance import CFG, Guidance
from ..sampling.loop import begin, sample
from ..sampling.prompts import Prompts, as_prompts
from ..sampling.schedule import NoiseSchedule, from_sigmas, make_schedule
from ..sampling.solvers import SOLVERS, WITHOUT_PENULTIMATE
from ..sampling.state import SamplerState
from ..sampling.step import NoiseLevel
from ..sampling.validation import check_part, check_seed, find_choice
from ..sampling.windows import longest_window
from .experts import AtWork, Turns
from .memory import AUTOMATIC, MemorySettings, tell
from .models import VideoModel
from .runtime import interrupt_hook
from .stage import Stage, Workload
from .tasks import WHOLE_STEPS, bytes_of, latent_shape, sampling_task, smaller_videos

POLICIES = WHOLE_STEPS
"""Of every run: the model sees the whole clip, and nothing is remembered between steps."""

Sides = dict[Side, Prompts]


class _Guided(NamedTuple):
    model: VideoModel
    guidance: Guidance


@dataclass(frozen=True, slots=True, eq=False)
class SamplerSettings:
    """How to sample; `sigmas` [steps + 1] replaces steps, shift, schedule and denoise.

    A run may make a part of the steps: those from `start_step` up to `end_step`, None for the last. One that stops
    early gives the latent of that noise level, divided by its signal weight as native samplers do, so that a run that
    starts there, with noise of zeros, goes on from it. With `ends_clean` its last step goes down to sigma 0.

    Raises:
        InvalidInputError: a value that is of another kind.
    """

    seed: int = 0
    steps: int = 30
    cfg: float = 5.0
    shift: float = 5.0
    solver: str = "unipc"
    schedule: str = "simple"
    denoise: float = 1.0
    sigmas: Tensor | None = None
    start_step: int = 0
    end_step: int | None = None
    ends_clean: bool = False

    def __post_init__(self) -> None:
        for name in ("seed", "steps", "cfg", "shift", "denoise"):
            check_number(getattr(self, name), name)
        check_part(self.start_step, self.end_step)

    def noise_schedule(self) -> NoiseSchedule:
        """The noise levels to walk.

        Raises:
            InvalidInputError: a value that cannot work.
        """
        if self.sigmas is not None:
            whole = from_sigmas(self.sigmas)
        else:
            without_penultimate = self.solver in WITHOUT_PENULTIMATE
            whole = make_schedule(
                self.schedule, self.steps, self.shift, self.denoise, without_penultimate=without_penultimate
            )
        return whole.part(self.start_step, self.end_step, ends_clean=self.ends_clean)


def empty_latent(family: Family, video: VideoShape, batch: int = 1) -> Tensor:
    """What a new video of a size starts from: zeros [batch, C, T, h, w], float32, CPU.

    Raises:
        InvalidInputError: no video of a Wan model has this size or length.
    """
    check_bounds(video.width, video.height, video.frames, batch)
    check_size(video.width, video.height, family.size_multiple)
    check_frames(video.frames)
    return torch.zeros(batch, *latent_shape(family, video))


def run_sampler(
    model: VideoModel,
    positive: Conditioning | Prompts,
    negative: Conditioning | Prompts,
    latent: Tensor,
    settings: SamplerSettings,
    noise: Tensor | None = None,
    given: Given = NOTHING_GIVEN,
    memory: MemorySettings = AUTOMATIC,
) -> Tensor:
    """The sampled latent, normalised: [B, C, T, h, w], float32, CPU.

    Everything that can be refused is refused before the weights are moved.

    Args:
        latent: [B, C, T, h, w], normalised; zeros for a new video.
        noise: [B, C, T, h, w] to start from; drawn from the seed when not given.
        given: what of the latent to keep as it is.
        memory: how much of the device to use; when it runs out all the same, less of the model stays on it.

    Raises:
        OutOfMemory: the video does not fit, even with all blocks swapped.
        NumericalError: the model gives values that are not finite.
    """
    schedule = settings.noise_schedule()
    solver = find_choice(SOLVERS, settings.solver, "solver")
    check_seed(settings.seed)
    steps = schedule.levels[:-1]
    experts, expert_at = _experts(model, settings.cfg, schedule)
    makers: list[Expert] = [expert_at(level) for level in steps]
    asked = [experts[maker].guidance.asks(level) for level, maker in zip(steps, makers)]
    sides: Sides = {"positive": as_prompts(positive), "negative": as_prompts(negative)}
    for side, prompts in sides.items():
        prompts.check(side, [level for level, asks in zip(steps, asked) if any(ask.side == side for ask in asks)])
    _warn_of_idle(experts, makers)
    choices: dict[Expert, Choice] = {
        name: _choose(
            experts[name].model,
            _largest(sides, [asks for asks, maker in zip(asked, makers) if maker == name]),
            latent,
            memory,
        )
        for name in experts
        if name in makers
    }
    device = model.residence.device
    run = _Run(experts, choices, sides, latent, schedule.steps, memory)
    progress = model.runtime.progress(schedule.steps, "sampling")
    state = start = begin(solver, schedule, latent.to(device), seed=settings.seed, noise=noise)
    with Turns(expert_at, run.turn) as turns:
        if steps:
            turns.begin_step(steps[0])
        for state in sample(turns, solver, schedule, start, given.to(device)):
            progress.update(state.step, turns.spared(partial(_preview, model, state)))
            model.runtime.check_interrupt()
            if state.step < schedule.steps:
                turns.begin_step(steps[state.step])
        return state.latent.cpu()


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """What the experts of a run have in common, and what each of them needs."""

    experts: dict[Expert, _Guided]
    choices: dict[Expert, Choice]
    sides: Sides
    latent: Tensor
    steps: int
    memory: MemorySettings

    @contextlib.contextmanager
    def turn(self, name: Expert, step: int) -> Iterator[AtWork]:
        """An expert on its device, from the step of this number on."""
        model, guidance = self.experts[name]
        choice = self.choices[name]
        if len(self.experts) > 1:
            logger.info("%s, the %s-noise expert, works from step %d on.", model.file, name, step + 1)
        self._take_away_all_but(name)
        tell(choice)
        frames = self.latent.shape[2]
        workload = Workload(_tokens(self.latent), frames, choice.way.working_bytes, choice.way.number > 1)
        execution = replace(
            model.execution, feed_forward_run=self.memory.feed_forward_run, on_block=interrupt_hook(model.runtime)
        )
        policy = self.memory.policy(choice)
        with Stage(model, policy, workload, self.steps, step=step, execution=execution) as stage:
            denoiser = Denoiser(
                stage,
                self.sides["positive"].to(model.residence.device),
                self.sides["negative"].to(model.residence.device),
                guidance=guidance,
                cache=POLICIES.cache,
                windows=POLICIES.windows,
                grouped=stage.grouped,
                carefully=stage.carefully,
                name=name,
            )
            yield AtWork(stage, denoiser)

    def _take_away_all_but(self, name: Expert) -> None:
        """The device is for one expert at a time; a host may have left the other one there for the next run."""
        own = self.experts[name].model.residence
        for expert in self.experts.values():
            if expert.model.residence is not own:
                expert.model.residence.unload()


def _experts(
    model: VideoModel, cfg: float, schedule: NoiseSchedule
) -> tuple[dict[Expert, _Guided], Callable[[NoiseLevel], Expert]]:
    """The models of a run with their guidance, and whose step a noise level is."""
    experts: dict[Expert, _Guided] = {"high": _Guided(model, CFG(cfg))}
    low = model.low_noise
    if low is None:
        return experts, lambda _level: "high"
    handover = Handover(expert_boundary(model.spec.config), low.high_steps)
    handover.check(schedule)
    experts["low"] = _Guided(low.model, CFG(cfg if low.cfg is None else low.cfg))
    return experts, handover.expert


def _warn_of_idle(experts: dict[Expert, _Guided], makers: Sequence[Expert]) -> None:
    """Tells of LoRAs that are active in none of the steps that their models make; `makers`: who makes each step."""
    parts = {name: [step / len(makers) for step, maker in enumerate(makers) if maker == name] for name in experts}
    loras = [(lora, parts[name]) for name, expert in experts.items() for lora in expert.model.loras if lora.strength]
    active = {_part(lora) for lora, own in loras if any(lora.strength_at(part) for part in own)}
    for name, start, end in dict.fromkeys(_part(lora) for lora, _ in loras):
        if makers and (name, start, end) not in active:
            logger.warning(
                "%s does nothing in this run: none of the %d steps begins in its part from %g to %g. Widen it.",
                name, len(makers), start, end,
            )  # fmt: skip


def _part(lora: AppliedAdapter) -> tuple[str, float, float]:
    return lora.adapter.name, lora.start, lora.end


def _preview(model: VideoModel, state: SamplerState) -> Tensor | None:
    """The middle of the first video, which shows more than the first frame where that one is given."""
    if not model.runtime.wants_previews():
        return None
    middle = state.denoised.shape[2] // 2
    return model.spec.family.preview(state.denoised[:1, :, middle : middle + 1])[0, 0]


def _largest(sides: Sides, steps: Iterable[Sequence[Ask]]) -> list[Conditioning]:
    """The prompts of the step with the most passes, by the questions of each step."""
    asked = ([part.conditioning for ask in asks for part in sides[ask.side].parts] for asks in steps)
    return max(asked, key=len)


def _choose(model: VideoModel, asked: Sequence[Conditioning], latent: Tensor, memory: MemorySettings) -> Choice:
    """How much of the model is to be on the device; `asked`: the prompt of each pass of a step."""
    weights = bytes_of(model.residence.module, model.dtype)
    loras = sum(lora.adapter.size_bytes for lora in model.loras)
    weights = weights._replace(fixed=weights.fixed + loras, fp32_residual=model.residence.module.fp32_residual)
    steering = reduce(or_, (prompt.steering() for prompt in asked))  # of each kind, the most
    family, config = model.spec.family, model.spec.config

    def task(latent: LatentShape, batch: int) -> Task:
        return sampling_task(
            weights,
            config,
            batch,
            latent,
            passes=len(asked),
            steering=steering,
            run=memory.feed_forward_run,
            policies=POLICIES,
        )

    def what_fits(limit: int) -> Iterator[str]:
        def fits(video: VideoShape) -> bool:
            return smallest_bytes(task(latent_shape(family, video), len(latent))) <= limit

        _, _, frames, height, width = latent.shape
        stride = family.spatial_stride
        return smaller_videos(
            VideoShape(video_frames(frames), height * stride, width * stride), family.size_multiple, fits
        )

    return memory.choose(
        task(LatentShape(*latent.shape[1:]), len(latent)), model.residence.device, what_fits, model.runtime
    )


def _tokens(latent: Tensor) -> int:
    """That a pass works on."""
    batch, _, frames, height, width = latent.shape
    return pass_shape((batch, longest_window(POLICIES.windows, frames), height, width)).tokens
