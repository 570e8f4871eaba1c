"""A training from its settings to its file: everything read, encoded, learned, kept on the way and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..common.errors import InvalidInputError
from ..common.records import record
from ..engine import ModelRecipe, PlacedModel, Runtime, VideoModel, load_model, place
from ..engine.progress import Counted
from .batch import TrainingBatch
from .datasets.reading import FoundClips, found_by
from .fitting.arranging import Arrangement
from .fitting.before import arrange, check_fits
from .keeping import KeptTraining
from .learner import Learner
from .loop import TrainedStep, learn
from .losses.record import Losses
from .new_adapter import new_adapter
from .preparing import Encoders, Rounds
from .saving import save_lora
from .settings import TrainingSettings, decisive

FindModel = Callable[[str, str], Path]
"""Gives the file of a kind and a name: "diffusion_models", "x.safetensors"."""


class TrainingModels(NamedTuple):
    """What a training needs in memory."""

    model: VideoModel
    text: PlacedModel
    vae: PlacedModel


class TrainingPlaces(NamedTuple):
    """Where the files of a training lie.

    Attributes:
        target: the one that is made.
        state: from which it goes on when it was broken off.
        cache: a folder of latents and texts, for later trainings too.
        ended: what is noted of it once it has ended; None for nothing.
    """

    target: Path
    state: Path
    cache: Path
    ended: Path | None = None

    @classmethod
    def beside(cls, target: Path) -> TrainingPlaces:
        """All of them in the folder of the file that is made."""
        return cls(target, target.with_suffix(".training.safetensors"), target.parent / "cache")


@record(eq=False)
class Training:
    """A training that is ready.

    Attributes:
        settings: of it.
        model: that is trained.
        clips, prior: what it learns from, and what is to stay; None without a prior.
        places: of its files.
        kept: its state when it is broken off.
        arrangement: where what is, while it learns.
    """

    settings: TrainingSettings
    model: VideoModel
    clips: Rounds
    prior: Rounds | None
    places: TrainingPlaces
    kept: KeptTraining
    arrangement: Arrangement

    @property
    def target(self) -> Path:
        """The file that is made."""
        return self.places.target

    def run(self, losses: Losses | None = None) -> Iterator[TrainedStep]:
        """Makes the steps that are left; the file is there after the last. One that was broken off goes on.

        Args:
            losses: gets those of all steps, the earlier ones too.
        """
        settings, device = self.settings, self.model.residence.device
        module, runtime = self.model.residence.module, self.model.runtime
        adapter = new_adapter(settings.output.name, module, settings.lora, settings.training.seed)
        learner, losses = Learner(adapter, settings.optimiser, device), Losses() if losses is None else losses
        self.kept.go_on(learner, losses)
        check = self._stopping(learner, losses)
        counted = Counted("Training", "step", settings.training.steps, before=learner.step)
        with (
            runtime.progress(counted) as progress,
            self.arrangement.learning(self.model, learner.adapter, check) as predict,
        ):
            for made in learn(predict, learner, self._supply, settings.noise, settings.training):
                losses.add(made)
                progress.note(f"loss {made.loss:.4f}")
                progress.update(made.step)
                if made.step % settings.output.save_every == 0 and made.step < made.steps:
                    self.kept.keep(learner, losses)
                yield made
                check()
        save_lora(learner.learned(), self.target, self._metadata(learner.step))
        if self.places.ended is not None:
            self.kept.note_end(self.target, self.places.ended, losses)
        self.kept.forget()

    def _stopping(self, learner: Learner, losses: Losses) -> Callable[[], None]:
        """What is called between blocks: a stop is within a step, whose gradients are lost; the steps before are kept.

        No step is half made then: the learner changes at a step's end alone.
        """

        def check() -> None:
            try:
                self.model.runtime.check_interrupt()
            except BaseException:  # a border: each host has a stop of its own, some beside `Exception`
                if learner.step:
                    self.kept.keep(learner, losses)
                raise

        return check

    def _supply(self, step: int, turn: int) -> Sequence[TrainingBatch]:
        number, device = step * self.settings.training.turns + turn, self.model.residence.device
        rounds = [self.clips] if self.prior is None else [self.clips, self.prior]
        return [each.batch(number).to(device) for each in rounds]

    def _metadata(self, steps: int) -> dict[str, str]:
        settings = self.settings
        return {
            "ss_network_module": "networks.lora_wan",
            "ss_network_dim": str(settings.lora.rank),
            "ss_network_alpha": f"{settings.lora.alpha:g}",
            "ss_steps": str(steps),
            "ss_learning_rate": f"{settings.optimiser.learning_rate:g}",
            "ss_seed": str(settings.training.seed),
            "ss_output_name": settings.output.name,
            "ss_sd_model_name": self.model.file,
            "wan_director.trigger": settings.output.trigger,
        }


def prepare(settings: TrainingSettings, runtime: Runtime, find: FindModel) -> Training:
    """Loads the models and encodes the clips; what is in the cache already is not encoded again.

    Raises:
        WanDirectorError: files are missing, or settings, clips and models do not go together.
    """
    files, output = settings.model, settings.output
    target = settings.folder / output.folder / f"{output.name}.safetensors"
    check_saving(settings)
    found = found_by(settings)
    precision: Any = files.precision
    recipe = ModelRecipe(find("diffusion_models", files.diffusion_model), precision=precision)
    check_fits(settings, found, recipe.path, runtime)
    model = load_model(recipe, runtime)
    text = place(ModelRecipe(find("text_encoders", files.text_encoder), "text_encoder"), runtime)
    vae = place(ModelRecipe(find("vae", files.vae), "vae"), runtime)
    return ready(settings, TrainingModels(model, text, vae), found, TrainingPlaces.beside(target))


def check_saving(settings: TrainingSettings) -> None:
    """Refuses settings of the output that cannot be.

    Raises:
        InvalidInputError: states are to be kept after less than a step.
    """
    if settings.output.save_every < 1:
        raise InvalidInputError(f"save_every is 1 step or more, got {settings.output.save_every}. Use 100.")


def ready(settings: TrainingSettings, models: TrainingModels, found: FoundClips, places: TrainingPlaces) -> Training:
    """A training with models in memory and clips that were found, which are encoded; see `prepare`.

    Args:
        settings: whose names of files and whose dataset are not looked at.
    """
    data, seed = settings.dataset, settings.training.seed
    encoders = Encoders(*models, places.cache)
    encoders.check(data.given)
    arrangement = arrange(settings, found, models.model)
    with torch.no_grad():
        clips = [encoders.clip(clip, part, data.given) for clip, part in found.clips]
        silence = encoders.caption("")
        if settings.prior.prompts:
            prior = encoders.prior(settings.prior)
        else:
            prior = [
                replace(encoders.clip(clip, part, data.given), weight=settings.prior.weight)
                for clip, part in found.prior
            ]
    repeats, sizes = [part.num_repeats for _, part in found.clips], [part.batch_size for _, part in found.clips]
    rounds = Rounds(clips, repeats, sizes, silence, data.caption_drop, seed)
    batch = settings.prior.batch
    kept = Rounds(prior, [1] * len(prior), [batch] * len(prior), silence, 0.0, seed) if prior else None
    state = _kept(settings, models, found, places)
    return Training(settings, models.model, rounds, kept, places, state, arrangement)


def earlier_losses(
    settings: TrainingSettings, models: TrainingModels, found: FoundClips, places: TrainingPlaces
) -> Losses | None:
    """The losses of this very training, where it has made the file that is there; None where it has not."""
    if places.ended is None or not places.target.is_file():
        return None
    return _kept(settings, models, found, places).losses_of(places.target, places.ended)


def _kept(
    settings: TrainingSettings, models: TrainingModels, found: FoundClips, places: TrainingPlaces
) -> KeptTraining:
    """Where the state of a run lies, by all that its numbers depend on; how often it is kept is none of it."""
    keys = [str(each.recipe.key()) for each in models]
    return KeptTraining.at(places.state, decisive(settings), *keys, found.contents())
