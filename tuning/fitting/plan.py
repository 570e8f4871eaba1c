"""Which way to train fits into the memory that there is: chosen before anything is loaded, and said in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

import torch

from ...common.errors import OutOfMemory
from ...common.families import Family
from ...common.records import record
from ...common.shapes import VideoShape
from ...dit.branches.branch import PassShape
from ...dit.footprint import pass_shape
from ...engine.memory import Devices, MemorySettings, refusal
from ...engine.tasks import latent_shape, smaller_videos
from ...memory.budget import example_card, gigabytes
from ...memory.pinned import default_pinned_bytes
from ...memory.plan import Choice, Task, Way, cost, fewest_swapped_of_each
from ...memory.policy import BlockSwap
from ...memory.training import BlockPlaces
from ..learner import OptimiserSettings
from .footprint import StepShape, beside_bytes, input_bytes, learned_bytes
from .settings import AUTO, RECOMPUTES, TrainingMemory

_PARTS_SLOWDOWN = 0.2
"""The part of time that going back part by part takes more: attention and norms run once more, of four such runs."""
_STATE_LATENTS = 10
"""Latents in float32: the clips, noise, what the model sees and says, its error, and their gradients."""


@record
class Clips:
    """Clips that are learned from in one batch; `count`: how many."""

    video: VideoShape
    count: int = 1


def seen_as(family: Family, clips: Clips) -> PassShape:
    """Clips as the model sees them."""
    latent = latent_shape(family, clips.video)
    return pass_shape((clips.count, latent.frames, latent.height, latent.width))


@record
class PlannedStep:
    """What is to be trained; the sizes alone.

    Attributes:
        family: of the model.
        step: its largest one.
        optimiser: what learns.
        clips: that the step sees.
    """

    family: Family
    step: StepShape
    optimiser: OptimiserSettings
    clips: Clips

    @property
    def learned_bytes(self) -> int:
        """Of what is learned, with its gradients and the optimiser's state."""
        return learned_bytes(self.step.config, self.step.adapter, self.optimiser)

    @property
    def state_bytes(self) -> int:
        """Of clips, noise and texts."""
        latent, clips = latent_shape(self.family, self.clips.video), self.clips.count
        pixels = latent.frames * latent.height * latent.width
        channels = _STATE_LATENTS * latent.channels + self.step.config.image_channels
        text = self.step.config.text_tokens * self.step.config.text_dim
        return 4 * clips * (pixels * channels + text)

    def of(self, video: VideoShape) -> PlannedStep:
        """The same of other clips."""
        return self.of_clips(Clips(video, self.clips.count))

    def of_clips(self, clips: Clips) -> PlannedStep:
        """The same of other clips, and perhaps of another number of them."""
        return PlannedStep(self.family, self.step._replace(clips=seen_as(self.family, clips)), self.optimiser, clips)

    def beside(self, in_ram: int, parts: bool) -> int:
        """Bytes beside weights and what is learned."""
        return self.inputs_on_device(in_ram) + beside_bytes(self.step, parts) + self.state_bytes

    def inputs_on_device(self, in_ram: int) -> int:
        """Of blocks that are to be run again: those of the last ones, or of the one that runs and the one before it."""
        blocks = len(self.step.weights.blocks)
        return input_bytes(self.step) * (max(blocks - in_ram, 2) if in_ram else blocks)

    def task(self, pinned_bytes: int) -> Task:
        """A step in all ways for which there is RAM."""
        weights, size = self.step.weights, input_bytes(self.step)
        counts = range(min(len(weights.blocks), pinned_bytes // size) + 1)
        ways = tuple(
            Way(1, self.learned_bytes + self.beside(count, bool(parts)), parts * _PARTS_SLOWDOWN, parts, count * size)
            for parts in (0, 1)
            for count in counts
        )
        flops = 2 * self.clips.count * self.step.config.block_flops(self.step.clips.length) * len(weights.blocks)
        return Task("train", weights.fixed, weights.blocks, ways, flops, 2, weights.anonymous)


@record
class TrainingPlan:
    """A training in the way it is going to run.

    Attributes:
        planned: what is trained.
        choice: how.
        memory: that the user gives.
        limit: bytes of the device that it may take, None for no limit.
        pinned: bytes of RAM for swapped blocks and inputs.
    """

    planned: PlannedStep
    choice: Choice
    memory: TrainingMemory
    limit: int | None
    pinned: int

    @property
    def in_ram(self) -> int:
        """Blocks whose inputs wait in RAM."""
        return self.choice.way.host_bytes // input_bytes(self.planned.step)

    @property
    def part_checkpoints(self) -> bool:
        """Whether blocks are run again part by part."""
        return bool(self.choice.way.leanness)

    @property
    def places(self) -> BlockPlaces:
        """What leaves the device."""
        room = max(0, self.pinned - self.choice.way.host_bytes)
        return BlockPlaces(BlockSwap(self.choice.swapped, room), self.in_ram, input_bytes(self.planned.step))

    @property
    def device_bytes(self) -> int:
        """The most that the device holds."""
        return self.choice.device_bytes

    @property
    def fits(self) -> bool:
        """Whether it stays within the limit."""
        return self.limit is None or self.device_bytes <= self.limit

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """What the device holds at most, by names."""
        planned, step = self.planned, self.planned.step
        return (
            ("weights of the model", self.choice.weight_bytes),
            ("what is learned, gradients, optimiser", planned.learned_bytes),
            ("inputs of the blocks", planned.inputs_on_device(self.in_ram)),
            ("one block, back and forth", beside_bytes(step, self.part_checkpoints)),
            ("clips, noise and texts", planned.state_bytes),
        )

    @property
    def words(self) -> str:
        """What was chosen, in one sentence."""
        blocks = len(self.choice.task.block_bytes)
        chosen = [f"{self.choice.swapped} of {blocks} blocks are swapped"] if self.choice.swapped else []
        chosen += [f"the inputs of {self.in_ram} wait in RAM"] if self.in_ram else []
        chosen += ["blocks are run again part by part"] if self.part_checkpoints else []
        how = ", ".join(chosen) or "everything stays on the device"
        return f"Training takes {gigabytes(self.device_bytes)} of the device: {how}."

    def check(self) -> None:
        """Refuses what does not fit.

        Raises:
            OutOfMemory: it does not.
        """
        if self.limit is not None and not self.fits:
            raise OutOfMemory(refusal(self.choice, self.limit, self.what_fits()))

    def what_fits(self) -> Iterator[str]:
        """Clips that would fit."""
        planned, count, limit = self.planned, self.planned.clips.count, self.limit or 0

        def fits(each: PlannedStep) -> bool:
            return _best(each, self.memory, limit, self.pinned).device_bytes <= limit

        if count > 1 and fits(planned.of_clips(Clips(planned.clips.video))):
            yield "batch_size = 1"
        yield from smaller_videos(
            planned.clips.video, planned.family.size_multiple, lambda video: fits(planned.of(video))
        )


def plan_training(planned: PlannedStep, memory: TrainingMemory, device: torch.device, runtime: Devices) -> TrainingPlan:
    """The cheapest way to train on a device within the memory that the user gives.

    Raises:
        OutOfMemory: nothing fits into what may be used at most.
    """
    limit = MemorySettings(budget=memory.bytes).limit(device, runtime)
    pinned = default_pinned_bytes(device) if memory.pinned_bytes is None else memory.pinned_bytes
    made = TrainingPlan(planned, _best(planned, memory, limit, pinned), memory, limit, pinned)
    if memory.budget == "use at most":
        made.check()
    return made


def plan_for(planned: PlannedStep, memory: TrainingMemory, limit: int, pinned: int) -> TrainingPlan:
    """The cheapest way to train within so many bytes of a device and of RAM; one that does not fit is given, too."""
    return TrainingPlan(planned, _best(planned, memory, limit, pinned), memory, limit, pinned)


def _best(planned: PlannedStep, memory: TrainingMemory, limit: int | None, pinned: int) -> Choice:
    """The cheapest choice that fits, or else the smallest; numbers of blocks that are too high mean all of them."""
    inputs = memory.inputs_in_ram * input_bytes(planned.step)
    task, card = planned.task(max(pinned, inputs)), example_card(limit or 0)
    most, blocks = max(way.host_bytes for way in task.ways), len(task.block_bytes)
    ways = [
        way
        for way in task.ways
        if memory.inputs_in_ram == AUTO or way.host_bytes == min(inputs, most)
        if memory.recompute in ("auto", RECOMPUTES[1 + way.leanness])
    ]
    counts = range(blocks + 1) if memory.blocks_to_swap == AUTO else (min(memory.blocks_to_swap, blocks),)
    room = inf if limit is None else limit
    choices = fewest_swapped_of_each(replace(task, ways=tuple(ways)), room, card, pinned_bytes=pinned, counts=counts)
    fitting = [choice for choice in choices if choice.device_bytes <= room]
    return min(fitting, key=cost) if fitting else min(choices, key=lambda choice: choice.device_bytes)
