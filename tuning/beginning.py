"""From the settings of a training to one that is ready: files named, models loaded, clips encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..common.errors import InvalidInputError, OutputError
from ..common.records import record
from ..engine import LoraRecipe, ModelRecipe, Runtime, load_model, place, with_lora
from .batch import TrainingBatch
from .datasets.reading import FoundClips, found_by
from .experts import ExpertRun, Partner, expert_runs, key_of, learned_on
from .fitting.before import arrange, check_fits
from .fitting.samples import sampling_memory
from .keeping import KeptTraining
from .learner import check_installed
from .losses.record import Losses
from .preparing import Encoders, Rounds
from .run import Training, TrainingModels, TrainingPlaces
from .samples.making import Samples
from .samples.sheet import SheetFiles
from .settings import TrainingSettings, decisive

FindModel = Callable[[str, str], Path]
"""Gives the file of a kind and a name: "diffusion_models", "x.safetensors"."""


@record(eq=False)
class NamedTraining:
    """A training whose files are known; nothing is loaded yet.

    Attributes:
        run: which expert learns, and how.
        text, vae: the other models.
        places: of its files.
        found: its clips.
        taught: what the other expert has learned already; None for nothing.
    """

    run: ExpertRun
    text: ModelRecipe
    vae: ModelRecipe
    places: TrainingPlaces
    found: FoundClips
    taught: Path | None = None

    @property
    def settings(self) -> TrainingSettings:
        """Of this training."""
        return self.run.settings

    def is_finished(self) -> bool:
        """Whether this very training has made the file that is there."""
        keys = [key_of(recipe) for recipe in (self._recipe(self.run.model), self.text, self.vae)]
        if self.run.partner is not None:
            keys += [key_of(self._recipe(self.run.partner)), self.run.expert]
        return _losses_of(self.settings, keys, self.found, self.places) is not None

    def check_target(self, may_replace: bool) -> None:
        """Refuses to replace a file that other settings made.

        Raises:
            OutputError: there is one of that name, and it may not be replaced.
        """
        if self.places.target.exists() and not may_replace:
            raise OutputError(
                f"There is a file {self.places.target.name} in {self.places.target.parent} already, which other "
                "settings made. Choose another name in [output], or replace it with --overwrite."
            )

    def check_fits(self, runtime: Runtime) -> None:
        """Refuses what does not fit, before a model is loaded; see `fitting.before.check_fits`."""
        check_fits(self.settings, self.found, self.run.model, self.vae.path, runtime)

    def prepare(self, runtime: Runtime) -> Training:
        """Loads the models and encodes the clips; what is in the cache already is not encoded again.

        Raises:
            WanDirectorError: settings, clips and models do not go together.
        """
        model = load_model(self._recipe(self.run.model), runtime)
        models = TrainingModels(model, place(self.text, runtime), place(self.vae, runtime))
        if self.run.partner is not None:
            base = load_model(self._recipe(self.run.partner), runtime)
            has_learned = self.taught is not None and self.taught.is_file()
            taught = with_lora(base, LoraRecipe(self.taught)) if self.taught and has_learned else base
            models = models._replace(partner=Partner(base, self.run.expert), taught=Partner(taught, self.run.expert))
        return ready(self.settings, models, self.found, self.places)

    def _recipe(self, path: Path) -> ModelRecipe:
        precision: Any = self.settings.model.precision
        return ModelRecipe(path, precision=precision)


def named_trainings(settings: TrainingSettings, find: FindModel) -> tuple[NamedTraining, ...]:
    """The trainings that settings ask for, one after the other: of one model, or of two experts.

    Raises:
        WanDirectorError: files or packages are missing, or settings and models do not go together.
    """
    check_settings(settings)
    found, files = found_by(settings), settings.model
    high = find("diffusion_models", files.diffusion_model)
    low = find("diffusion_models", files.low_noise_model) if files.low_noise_model else None
    text = ModelRecipe(find("text_encoders", files.text_encoder), "text_encoder")
    vae = ModelRecipe(find("vae", files.vae), "vae")
    made: list[NamedTraining] = []
    for run in expert_runs(settings, high, low):
        output = run.settings.output
        places = TrainingPlaces.beside(settings.folder / output.folder / f"{output.name}.safetensors")
        made.append(NamedTraining(run, text, vae, places, found, made[-1].places.target if made else None))
    return tuple(made)


def prepare(settings: TrainingSettings, runtime: Runtime, find: FindModel) -> Training:
    """The training of one model, ready to run; it replaces the file that is there.

    Raises:
        WanDirectorError: files are missing, or settings, clips and models do not go together.
    """
    first, *others = named_trainings(settings, find)
    if others:
        raise InvalidInputError(
            "The settings name two experts, which are two trainings. Take each of named_trainings in its turn."
        )
    first.check_fits(runtime)
    return first.prepare(runtime)


def check_settings(settings: TrainingSettings) -> None:
    """Refuses settings that cannot be, before anything takes long.

    Raises:
        InvalidInputError: states are to be kept after less than a step.
        MissingPackageError: the optimiser is not installed.
    """
    if settings.output.save_every < 1:
        raise InvalidInputError(f"save_every is 1 step or more, got {settings.output.save_every}. Use 100.")
    check_installed(settings.optimiser.kind)


def ready(settings: TrainingSettings, models: TrainingModels, found: FoundClips, places: TrainingPlaces) -> Training:
    """A training with models in memory and clips that were found, which are encoded.

    Args:
        settings: whose names of files and whose dataset are not looked at.

    Raises:
        WanDirectorError: settings, clips and models do not go together.
    """
    check_settings(settings)
    data, seed = settings.dataset, settings.training.seed
    encoders = Encoders(*models.encoded_by, places.cache, models.partner)
    encoders.check(data.given, settings.prior)
    arrangement = arrange(settings, found, models.model)
    with torch.no_grad():
        clips = [encoders.clip(clip, part, data.given) for clip, part in found.clips]
        silence = encoders.caption("")
        prior = list(_prior(settings, encoders, found))
        like = found.clips[: len(settings.samples.prompts)] or found.clips
        told = [
            encoders.sample(words, settings.samples, data.given, like[number % len(like)])
            for number, words in enumerate(settings.samples.prompts)
        ]
    repeats, sizes = [part.num_repeats for _, part in found.clips], [part.batch_size for _, part in found.clips]
    rounds = Rounds(clips, repeats, sizes, silence, data.caption_drop, seed)
    batch = settings.prior.batch
    stay = Rounds(prior, [1] * len(prior), [batch] * len(prior), silence, 0.0, seed) if prior else None
    state = _kept(settings, models.keys, found, places)
    samples = Samples(
        settings.samples,
        tuple(told),
        silence,
        lambda adapter: models.taught.of(learned_on(models.model, adapter)),
        models.vae,
        sampling_memory(settings.memory, arrangement.plan.planned.learned_bytes),
        state.key,
        places.cache,
        SheetFiles(places.sheet, models.model.spec.family.fps),
    )
    return Training(settings, models.model, rounds, stay, places, state, arrangement, samples)


def earlier_losses(
    settings: TrainingSettings, models: TrainingModels, found: FoundClips, places: TrainingPlaces
) -> Losses | None:
    """The losses of this very training, where it has made the file that is there; None where it has not."""
    return _losses_of(settings, models.keys, found, places)


def _losses_of(
    settings: TrainingSettings, keys: Sequence[str], found: FoundClips, places: TrainingPlaces
) -> Losses | None:
    if places.ended is None or not places.target.is_file():
        return None
    return _kept(settings, keys, found, places).losses_of(places.target, places.ended)


def _prior(settings: TrainingSettings, encoders: Encoders, found: FoundClips) -> Iterator[TrainingBatch]:
    """The clips that are to stay: made by the model, or given."""
    if settings.prior.prompts:
        yield from encoders.prior(settings.prior)
    for clip, part in found.prior:
        yield replace(encoders.clip(clip, part, settings.dataset.given), weight=settings.prior.weight)


def _kept(settings: TrainingSettings, keys: Sequence[str], found: FoundClips, places: TrainingPlaces) -> KeptTraining:
    """Where the state of a run lies, by all that its numbers depend on; how often it is kept is none of it."""
    return KeptTraining.at(places.state, decisive(settings), *keys, found.contents())
