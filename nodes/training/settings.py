"""From the widgets of a training to its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ...tuning.fitting.settings import TrainingMemory
from ...tuning.learner import OptimiserSettings
from ...tuning.loop import TrainingCourse
from ...tuning.new_adapter import AdapterSettings
from ...tuning.noise import NoiseLevels
from ...tuning.settings import DatasetSettings, ModelFiles, OutputSettings, PriorSettings, TrainingSettings


class TrainWidgets(NamedTuple):
    """What the widgets of a training say, in their order; see the settings that they become."""

    name: str
    trigger: str
    steps: int
    learning_rate: float
    rank: int
    given: Any
    prior_prompts: str
    training_seed: int
    alpha: float
    kind: Any
    targets: Any
    blocks: str
    norms: bool
    biases: bool
    noise: Any
    shift: float
    lowest: float
    highest: float
    weighting: Any
    optimiser: Any
    warm_up: int
    decay: Any
    weight_decay: float
    clip: float
    average: float
    turns: int
    caption_drop: float
    prior_copies: int
    prior_weight: float
    prior_batch: int
    prior_width: int
    prior_height: int
    prior_frames: int
    prior_steps: int
    prior_cfg: float
    prior_shift: float
    save_every: int
    budget: Any
    gigabytes: float

    def settings(self, files: ModelFiles) -> TrainingSettings:
        """The settings; errors as of their parts.

        Args:
            files: the names of the models, for the record.
        """
        return TrainingSettings(
            model=files,
            dataset=DatasetSettings("", given=self.given, caption_drop=self.caption_drop),
            output=OutputSettings(self.name, trigger=self.trigger.strip(), save_every=self.save_every),
            lora=self.adapter(),
            noise=NoiseLevels(self.noise, self.shift, self.lowest, self.highest, self.weighting),
            optimiser=OptimiserSettings(
                self.optimiser,
                self.learning_rate,
                self.warm_up,
                self.decay,
                self.weight_decay,
                self.clip,
                self.average,
            ),
            training=TrainingCourse(self.steps, self.turns, self.training_seed),
            prior=self._prior(),
            memory=TrainingMemory(self.budget, self.gigabytes),
            folder=Path("."),
        )

    def adapter(self) -> AdapterSettings:
        """What of the model is learned."""
        return AdapterSettings(
            self.rank, self.alpha, self.kind, self.targets, self.norms, self.biases, self.blocks.strip() or "all"
        )

    def _prior(self) -> PriorSettings:
        prompts = tuple(line.strip() for line in self.prior_prompts.splitlines() if line.strip())
        return PriorSettings(
            prompts,
            copies=self.prior_copies,
            weight=self.prior_weight,
            width=self.prior_width,
            height=self.prior_height,
            frames=self.prior_frames,
            steps=self.prior_steps,
            cfg=self.prior_cfg,
            shift=self.prior_shift,
            batch=self.prior_batch,
        )
