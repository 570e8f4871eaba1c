"""A training from its settings to its file: everything read, encoded, learned, kept on the way and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..common.errors import InvalidInputError
from ..common.log import logger
from ..engine import Interrupted, ModelRecipe, Runtime, VideoModel, load_model, place
from ..engine.progress import Counted
from .batch import TrainingBatch
from .fitting.arranging import arranged
from .fitting.before import FoundClip, find_clips, planned_training
from .fitting.plan import TrainingPlan, plan_training
from .fitting.settings import TrainingMemory
from .keeping import KeptTraining
from .learner import Learner
from .loop import TrainedStep, learn
from .new_adapter import new_adapter
from .preparing import Encoders, Rounds
from .saving import save_lora
from .settings import TrainingSettings

FindModel = Callable[[str, str], Path]
"""Gives the file of a kind and a name: "diffusion_models", "x.safetensors"."""


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A training that is ready.

    Attributes:
        settings: of it.
        model: that is trained.
        clips, prior: what it learns from, and what is to stay; None without a prior.
        target: the file.
        plan: where what is, while it learns.
    """

    settings: TrainingSettings
    model: VideoModel
    clips: Rounds
    prior: Rounds | None
    target: Path
    plan: TrainingPlan

    def run(self) -> Iterator[TrainedStep]:
        """Makes the steps that are left; the file is there after the last. One that was broken off goes on."""
        settings, device = self.settings, self.model.residence.device
        module, runtime = self.model.residence.module, self.model.runtime
        adapter = new_adapter(settings.output.name, module, settings.lora, settings.training.seed)
        learner = Learner(adapter, settings.optimiser, device)
        kept = self._kept()
        kept.go_on(learner)
        counted = Counted("Training", "step", settings.training.steps)
        with (
            runtime.progress(counted) as progress,
            arranged(self.model, learner.adapter, self.plan) as predict,
            _kept_when_stopped(kept, learner),
        ):
            for made in learn(predict, learner, self._supply, settings.noise, settings.training):
                progress.note(f"loss {made.loss:.4f}")
                progress.update(made.step)
                if made.step % settings.output.save_every == 0 and made.step < made.steps:
                    kept.keep(learner)
                yield made
                runtime.check_interrupt()
        save_lora(learner.learned(), self.target, self._metadata(learner.step))
        kept.forget()

    def _supply(self, step: int, turn: int) -> Sequence[TrainingBatch]:
        number, device = step * self.settings.training.turns + turn, self.model.residence.device
        rounds = [self.clips] if self.prior is None else [self.clips, self.prior]
        return [each.batch(number).to(device) for each in rounds]

    def _kept(self) -> KeptTraining:
        output = replace(self.settings.output, save_every=1)
        settings = replace(self.settings, folder=Path("."), output=output, memory=TrainingMemory())
        return KeptTraining.beside(self.target, settings, str(self.model.recipe.key()))

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
    if output.save_every < 1:
        raise InvalidInputError(f"save_every is 1 step or more, got {output.save_every}. Use 100.")
    data, seed = settings.dataset, settings.training.seed
    files_of_clips = find_clips(settings)
    _tell_of_silent(files_of_clips)
    precision: Any = files.precision
    recipe = ModelRecipe(find("diffusion_models", files.diffusion_model), precision=precision)
    device = runtime.device(recipe.kind, recipe.device)
    plan = plan_training(
        planned_training(settings, files_of_clips, recipe.path, device), settings.memory, device, runtime
    )
    logger.info("%s", plan.words)
    model = load_model(recipe, runtime)
    text = place(ModelRecipe(find("text_encoders", files.text_encoder), "text_encoder"), runtime)
    vae = place(ModelRecipe(find("vae", files.vae), "vae"), runtime)
    encoders = Encoders(model, text, vae, target.parent / "cache")
    with torch.no_grad():
        found = [(encoders.clip(clip, part, data.given), part) for clip, part in files_of_clips]
        silence = encoders.caption("")
        prior = encoders.prior(settings.prior) if settings.prior.prompts else []
    repeats, sizes = [part.num_repeats for _, part in found], [part.batch_size for _, part in found]
    clips = Rounds([clip for clip, _ in found], repeats, sizes, silence, data.caption_drop, seed)
    kept = Rounds(prior, [1] * len(prior), [settings.prior.batch] * len(prior), silence, 0.0, seed) if prior else None
    return Training(settings, model, clips, kept, target, plan)


@contextmanager
def _kept_when_stopped(kept: KeptTraining, learner: Learner) -> Iterator[None]:
    """A stop comes within a step, whose gradients are lost; what the steps before it have made is kept."""
    try:
        yield
    except Interrupted:
        if learner.step:
            kept.keep(learner)
        raise


def _tell_of_silent(clips: Sequence[FoundClip]) -> None:
    silent = [clip.path.name for clip, _ in clips if not clip.caption]
    if silent:
        logger.warning(
            "%d of %d clips %s an empty caption, as %s: what it shows is learned for every prompt. Write it into the "
            "text beside it.",
            len(silent),
            len(clips),
            "has" if len(silent) == 1 else "have",
            silent[0],
        )
