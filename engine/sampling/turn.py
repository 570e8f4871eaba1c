"""A model of a run during the steps that it makes: on its device, with what asks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from ...common.log import logger
from ...memory.plan import Choice
from ...sampling.denoiser import Denoiser
from ...sampling.experts import Expert
from ..memory import MemorySettings, tell
from ..runtime import interrupt_hook
from .experts import AtWork, GuidedModel
from .job import Sides, pass_tokens
from .stage import Stage, Workload

Choices = dict[Expert, Choice]
"""How much of each model is on its device."""


@dataclass(frozen=True, slots=True, eq=False)
class SamplingRun:
    """What the experts of a run have in common, and what each of them needs."""

    experts: dict[Expert, GuidedModel]
    choices: Choices
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
        workload = Workload(pass_tokens(model, self.latent), frames, choice.way.working_bytes, choice.way.number > 1)
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
                cache=model.policies.cache,
                windows=model.policies.windows,
                places=model.policies.places,
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
