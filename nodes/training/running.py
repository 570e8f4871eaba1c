"""A training on the canvas: what is refused before it, what a plan notes of it, and what it gives."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ...common.checking import instance_of
from ...common.errors import InvalidInputError, OutputError
from ...common.log import logger
from ...common.records import record
from ...engine.memory import Job
from ...tuning.beginning import check_settings, earlier_losses, ready
from ...tuning.datasets.reading import FoundClips, found_clips
from ...tuning.fitting.outlined import outline_preparation, training_job
from ...tuning.losses.curve import loss_curve, outline_of_curve
from ...tuning.losses.record import Losses
from ...tuning.run import TrainingModels, TrainingPlaces
from ...tuning.settings import TrainingSettings
from ..hosts.host import host
from ..saving.place import check_place
from .clips import TrainingClips
from .naming import ENDING


@record(eq=False, slots=False)
class NodeTraining:
    """One training of the node; `may_replace`: whether it may replace a file of another one."""

    settings: TrainingSettings
    models: TrainingModels
    dataset: TrainingClips
    places: TrainingPlaces
    may_replace: bool

    @property
    def file_name(self) -> str:
        """As the dropdowns of LoRA loaders show it."""
        return str(self.places.target.relative_to(host().trained_folder()))

    def check(self) -> None:
        """Refuses what cannot be trained, before anything takes long.

        Raises:
            InvalidInputError: the dataset is none, or has clips that are to stay beside prompts for such.
            OutputError: nothing can be written where the file goes.
        """
        instance_of(self.dataset, TrainingClips, "dataset", "Wan Dataset")
        if self.dataset.prior and self.settings.prior.prompts:
            raise InvalidInputError(
                "The dataset has clips in prior that are to stay, and prior_prompts asks the model to make some. Empty "
                "one of both."
            )
        check_settings(self.settings)
        check_place(self.places.target.stem, self.places.target.parent)

    def run(self) -> Tensor:
        """The curve [1, H, W, 3] of the losses, once the file is there.

        Raises:
            OutputError: another file of that name is there already.
        """
        self.models.model.residence.unload()  # copies on a device were made in the host's inference mode
        # Nodes run in inference mode, in which there are no gradients.
        with torch.inference_mode(False), torch.enable_grad():
            losses = self._trained(self._found)
        return loss_curve(losses, self.settings.training.steps, self.file_name.removesuffix(ENDING))

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What there is to do with the model that learns."""
        return (training_job(self.settings, self._found, self.models.model),)

    def outline(self) -> Tensor:
        """As `run`, at once and without values; what is done before it learns is noted, too."""
        outline_preparation(self.settings, self.models, self._found, self.places)
        return outline_of_curve()

    @cached_property
    def _found(self) -> FoundClips:
        return found_clips(self.dataset.parts, self.dataset.prior)

    def _trained(self, found: FoundClips) -> Losses:
        earlier = earlier_losses(self.settings, self.models, found, self.places)
        if earlier is not None:
            logger.info("%s was made by this very training already, and is used as it is.", self.file_name)
            return earlier
        if self.places.target.exists() and not self.may_replace:
            raise OutputError(
                f"There is a file {self.file_name} in models/loras already, which another training made. Choose "
                "another name, or switch replace on."
            )
        losses = Losses()
        for _ in ready(self.settings, self.models, found, self.places).run(losses):
            pass
        logger.info("%s is trained: %s", self.file_name, self.places.target)
        return losses
