"""A training that is ready: learned, kept and shown on the way, and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..common.records import record
from ..engine import PlacedModel, VideoModel
from ..engine.progress import Counted
from ..model_loading.files.model_hash import base_metadata
from .batch import TrainingBatch
from .experts import ALONE, Alone, Partner, key_of
from .fitting.arranging import Arrangement
from .keeping import KeptTraining
from .learner import Learner
from .loop import TrainedStep, learn
from .losses.record import Losses
from .new_adapter import new_adapter
from .preparing import Rounds
from .samples.making import Samples
from .saving import save_lora
from .settings import TrainingSettings


class TrainingModels(NamedTuple):
    """What a training needs in memory.

    Attributes:
        model: that learns.
        text, vae: that encode clips and captions, and decode samples.
        partner: with which the model samples before it learns.
        taught: with which it samples while it learns: the other expert may have learned already.
    """

    model: VideoModel
    text: PlacedModel
    vae: PlacedModel
    partner: Alone | Partner = ALONE
    taught: Alone | Partner = ALONE

    @property
    def encoded_by(self) -> tuple[VideoModel, PlacedModel, PlacedModel]:
        """The models that clips and captions are encoded with."""
        return self.model, self.text, self.vae

    @property
    def keys(self) -> list[str]:
        """What tells these models from others: a value for `digest`."""
        return [*(key_of(each.recipe) for each in self.encoded_by), *self.partner.key()]


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
        cache = target.parent / "cache"
        return cls(
            target, target.with_suffix(".training.safetensors"), cache, cache / f"{target.stem}.ended.safetensors"
        )

    @property
    def sheet(self) -> Path:
        """Where samples are shown, without an ending."""
        return self.target.with_name(f"{self.target.stem}.samples")


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
        samples: that show what is learned so far.
    """

    settings: TrainingSettings
    model: VideoModel
    clips: Rounds
    prior: Rounds | None
    places: TrainingPlaces
    kept: KeptTraining
    arrangement: Arrangement
    samples: Samples

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
        module, steps = self.model.residence.module, settings.training.steps
        adapter = new_adapter(settings.output.name, module, settings.lora, settings.training.seed)
        learner, losses = Learner(adapter, settings.optimiser, device), Losses() if losses is None else losses
        self.kept.go_on(learner, losses)
        self.samples.show(learner, steps)
        for end in self.samples.pauses(learner.step, steps):
            yield from self._until(end, learner, losses)
            self.kept.keep(learner, losses)
            self.samples.show(learner, steps)
        save_lora(learner.learned(), self.target, self._metadata(learner.step))
        if self.places.ended is not None:
            self.kept.note_end(self.target, self.places.ended, losses)
        self.kept.forget()

    def _until(self, end: int, learner: Learner, losses: Losses) -> Iterator[TrainedStep]:
        """Makes the steps up to this one, and leaves the device to others behind it."""
        settings, runtime = self.settings, self.model.runtime
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
                if made.step % settings.output.save_every == 0 and made.step < end:
                    self.kept.keep(learner, losses)
                yield made
                check()
                if made.step == end:
                    return

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
            **base_metadata(self.model.spec.path, self.model.spec.path.name, self.model.runtime.check_interrupt),
            **({"modelspec.trigger_phrase": settings.output.trigger} if settings.output.trigger else {}),
            "wan_director.trigger": settings.output.trigger,
        }
