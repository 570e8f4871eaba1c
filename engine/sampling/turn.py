"""A model of a run during the steps that it makes: on its device, with what asks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from ...common.log import logger
from ...common.records import record
from ...dit.execution import Execution, lean_ways, more_exact
from ...dit.sharing import ONE_DEVICE, Sharing
from ...memory.plan import Choice
from ...memory.policy import streamed_blocks
from ...sampling.experts import Expert
from ..memory import MemorySettings, tell
from ..poses.room import pose_room
from ..progress import Counted
from ..runtime import Progress, Runtime, watched_blocks
from .asked import Sides
from .experts import AtWork, Beside, GuidedModel, denoiser_of
from .job import pass_tokens
from .sights import Size, Steps
from .stage import Stage, Workload

Choices = dict[Expert, Choice]
"""How much of each model is on its device."""


@record(eq=False)
class SamplingRun:
    """What the experts of a run have in common, and what each of them needs.

    `beside`: what else they are asked. `rounds`: how often the steps are made: once for each chunk of a causal model.
    `sharing`: with whom the passes are computed.
    """

    experts: dict[Expert, GuidedModel]
    made: dict[Expert, Steps]
    choices: Choices
    sides: Sides
    latent: Tensor
    steps: int
    memory: MemorySettings
    beside: tuple[Beside, ...] = ()
    rounds: int = 1
    sharing: Sharing = ONE_DEVICE

    def told(self, runtime: Runtime, step: int) -> Progress:
        """What says how far the steps are, of which so many were made before."""
        return runtime.progress(Counted("Sampling", "step", self.steps * self.rounds, step))

    @contextlib.contextmanager
    def turn(self, progress: Progress, name: Expert, step: int, mended: int) -> Iterator[AtWork]:
        """An expert on its device, from the step of this number on.

        Args:
            progress: is told of its blocks.
            mended: how many times its way to compute was made more exact in the steps before.
        """
        model, guidance = self.experts[name]
        choice = self.choices[name]
        expert = f"{name}-noise expert" if len(self.experts) > 1 else ""
        if expert:
            logger.info("%s, the %s, works from step %d on.", model.file, expert, step + 1)
            progress.note(expert)
        self._take_away_all_but(name)
        tell(choice)
        own = self.made[name]
        frames = own.largest(Size(*self.latent.shape[2:])).frames
        workload = Workload(pass_tokens(own, self.latent), frames, choice.way.working_bytes, choice.way.number > 1)
        blocks = len(streamed_blocks(model.residence.module))
        execution = replace(
            _made_exact(model.execution, mended),
            feed_forward_run=self.memory.feed_forward_run,
            lean=lean_ways(model.spec.config.heads)[choice.way.leanness],
            on_block=watched_blocks(model.runtime, progress, blocks, expert),
        )
        policy = self.memory.policy(choice)
        poses = pose_room(own, model.spec.config, Size(*self.latent.shape[2:]), model.placed.weights.token_itemsize)
        with Stage(
            model, policy, workload, self.steps, step=step, execution=execution, poses=poses, sharing=self.sharing
        ) as stage:
            others = tuple(
                denoiser_of(model, stage, each.sides, each.guidance[name], f"{name}, {each.name}", each.places)
                for each in self.beside
            )
            yield AtWork(stage, denoiser_of(model, stage, self.sides, guidance, name), others)

    def _take_away_all_but(self, name: Expert) -> None:
        """The device is for one expert at a time; a host may have left the other one there for the next run."""
        own = self.experts[name].model.residence
        for expert in self.experts.values():
            if expert.model.residence is not own:
                expert.model.residence.unload()


def _made_exact(execution: Execution, times: int) -> Execution:
    """As the steps before the one that a run goes on with computed at last."""
    for _ in range(times):
        exact = more_exact(execution)
        if exact is None:
            break
        execution, how = exact
        logger.info("As before, this run goes on %s.", how)
    return execution
