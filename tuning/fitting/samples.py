"""What the samples of a training take of the device, beside what is learned: it stays there while they are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from ...common.errors import OutOfMemory
from ...common.records import record
from ...common.shapes import VideoShape
from ...dit.branches.vace import VaceBranch
from ...engine.memory import MemorySettings, refusal
from ...engine.sampling.task import sampling_task
from ...engine.tasks import decoding_task, latent_shape, smaller_videos
from ...memory.budget import Budget, example_card, gigabytes
from ...memory.plan import Choice, Task, plan, smallest, smallest_bytes, swap_exactly
from ...model_loading.footprint import Outline
from ..settings import SampleSettings
from .plan import TrainingPlan
from .settings import AUTO, TrainingMemory


def sampling_memory(memory: TrainingMemory, learned_bytes: int) -> MemorySettings:
    """What a run of the sampler may take in a training: what is free is asked for, but a cap counts what is learned."""
    budget = memory.bytes
    if budget.kind == "use at most":
        budget = Budget(budget.kind, max(0, budget.size_bytes - learned_bytes))
    swapped = None if memory.blocks_to_swap == AUTO else memory.blocks_to_swap
    return MemorySettings(budget, swapped, memory.pinned_bytes)


@record(eq=False)
class SamplesPlan:
    """How the samples of a training are made.

    Attributes:
        training: in the way it is going to run.
        samples: what is made.
        vae: what decodes them.
    """

    training: TrainingPlan
    samples: SampleSettings
    vae: Outline

    @property
    def sampling(self) -> Choice:
        """The step of a sampler."""
        memory, task = self.training.memory, self._sampling_task(self.samples.video)
        if memory.blocks_to_swap != AUTO:
            card = example_card(self.training.limit or 0)
            return swap_exactly(task, memory.blocks_to_swap, card, pinned_bytes=self.training.pinned)
        return self._chosen(task)

    @property
    def decoding(self) -> Choice:
        """The VAE."""
        return self._chosen(self._decoding_task(self.samples.video))

    @property
    def device_bytes(self) -> int:
        """The most that the device holds, with what is learned."""
        return max(self.sampling.device_bytes, self.decoding.device_bytes)

    @property
    def words(self) -> str:
        """What they take, in a sentence."""
        sampling, training = self.sampling, self.training
        blocks = len(sampling.task.block_bytes)
        swapped = f" with {sampling.swapped} of {blocks} blocks swapped" if sampling.swapped else ""
        more = ", more than the training itself" * (self.device_bytes > training.device_bytes)
        return (
            f"Samples take {gigabytes(self.device_bytes)} of the device{more}: {gigabytes(sampling.device_bytes)} to "
            f"sample{swapped}, {gigabytes(self.decoding.device_bytes)} to decode."
        )

    def check(self) -> None:
        """Refuses what does not fit.

        Raises:
            OutOfMemory: it does not.
        """
        limit = self.training.limit
        if limit is None:
            return
        worst = max(self.sampling, self.decoding, key=lambda choice: choice.device_bytes)
        if worst.device_bytes > limit:
            raise OutOfMemory(f"[samples]: {refusal(worst, limit, self._what_fits(limit))}")

    def _what_fits(self, limit: int) -> Iterator[str]:
        def fits(video: VideoShape) -> bool:
            tasks = self._sampling_task(video), self._decoding_task(video)
            return max(map(smallest_bytes, tasks)) <= limit

        yield from smaller_videos(self.samples.video, self.training.planned.family.size_multiple, fits)

    def _sampling_task(self, video: VideoShape) -> Task:
        planned = self.training.planned
        config, weights = planned.step.config, planned.step.weights
        steering = Counter(type(branch) for branch in config.branches if isinstance(branch, VaceBranch))
        weights = weights._replace(fixed=weights.fixed + planned.learned_bytes)
        passes = 1 if self.samples.cfg == 1 else 2
        shape = latent_shape(planned.family, video)
        return sampling_task(weights, config, 1, shape, passes=passes, steering=steering, run=0)

    def _decoding_task(self, video: VideoShape) -> Task:
        task = decoding_task(self.vae.weights, self.vae.spec.config, video)
        return replace(task, fixed_bytes=task.fixed_bytes + self.training.planned.learned_bytes)

    def _chosen(self, task: Task) -> Choice:
        limit, pinned = self.training.limit, self.training.pinned
        card = example_card(limit or 0)
        if limit is None:
            return swap_exactly(task, 0, card, pinned_bytes=pinned)
        return plan(task, limit, card, pinned_bytes=pinned) or smallest(task, card, pinned_bytes=pinned)
