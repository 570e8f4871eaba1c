"""Samples of the same prompts and seed after more and more steps, kept, and shown side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...common.log import logger
from ...common.records import record
from ...dit.adapters import Adapter, frozen
from ...engine import MemorySettings, PlacedModel, SamplerSettings, VideoModel, decode, run_sampler
from ...media.pictures import fit_pictures
from ..batch import TrainingBatch
from ..cache import kept, kept_already
from ..learner import Learner
from ..settings import SampleSettings
from .sheet import SheetFiles, save_sheet, shown_steps

WithAdapter = Callable[[Adapter], VideoModel]
"""Gives the model that samples, with what is learned on it."""

_CELL = 256
"""Pixels of the shorter side of a sample on the sheet, at most."""


@record(eq=False)
class Samples:
    """What is sampled while a training goes on.

    Attributes:
        settings: of the samples.
        told: what each prompt is; as long as the list of them.
        silence: the text [1, text_tokens, text_dim] of the negative side.
        with_adapter: gives the model that makes them.
        vae: that makes them frames.
        memory: that they may take.
        key: of the training: all that its numbers depend on.
        cache: a folder for the samples, from which the sheet goes on in another process.
        files: the sheet.
    """

    settings: SampleSettings
    told: tuple[TrainingBatch, ...]
    silence: Tensor
    with_adapter: WithAdapter
    vae: PlacedModel
    memory: MemorySettings
    key: str
    cache: Path
    files: SheetFiles

    def pauses(self, begun: int, steps: int) -> Iterator[int]:
        """The steps after which a training stops for samples, those that are made already left out; the last is its
        end."""
        yield from (step for step in range(begun + 1, steps) if self.settings.are_due(step, steps))
        if begun < steps:
            yield steps

    @torch.no_grad()
    def show(self, learner: Learner, steps: int) -> None:
        """Makes the samples that are due, and the sheet of these and all before; nothing when none are.

        Args:
            steps: of the whole training.

        Raises:
            WanDirectorError: see `run_sampler` and `decode`, or the sheet cannot be written.
        """
        if not self.settings.are_due(learner.step, steps):
            return
        model = self.with_adapter(frozen(learner.learned()))
        latest = self._made(learner.step, model)
        due = (step for step in range(learner.step) if self.settings.are_due(step, steps))
        shown = shown_steps([*(step for step in due if self._kept(step)), learner.step], latest[0].shape[2])
        columns = [self._kept(step) for step in shown[:-1]] + [latest]
        path = save_sheet(list(zip(*columns)), self.settings.prompts, shown, self.files)
        logger.info("Samples after %d steps: %s", learner.step, path)

    def _made(self, step: int, model: VideoModel) -> list[Tensor]:
        """A sample of each prompt as the sheet shows it, those of this step that are kept as they are."""
        cells = []
        for row in range(len(self.told)):
            with model.runtime.at(f"sample {row + 1} of {len(self.told)} after {step} steps"):
                cells.append(kept(self.cache, self._key_of(row, step), lambda row=row: self._cell(row, model)))
        return cells

    def _kept(self, step: int) -> list[Tensor]:
        """The samples that were made after so many steps; none where one of them is lost."""
        found = [kept_already(self.cache, self._key_of(row, step)) for row in range(len(self.told))]
        cells = [cell for cell in found if cell is not None]
        return cells if len(cells) == len(found) else []

    def _cell(self, row: int, model: VideoModel) -> Tensor:
        """One sample as the sheet shows it: [F, h, w, 3], bytes."""
        batch, how = self.told[row], self.settings
        positive, negative = batch.told, replace(batch.told, text=self.silence)
        sampler = SamplerSettings(how.seed, how.steps, how.cfg, how.shift)
        latent, given = torch.zeros_like(batch.latent), batch.shown(batch.latent)
        made = run_sampler(model, positive, negative, latent, sampler, given=given, memory=self.memory)
        raw = model.spec.family.denormalize(made)
        frames = torch.stack(list(decode(self.vae, raw, self.memory)))  # [F, H, W, 3]
        factor = min(1.0, _CELL / min(frames.shape[1:3]))
        height, width = (round(factor * side) for side in frames.shape[1:3])
        return (255 * fit_pictures(frames, width, height, "stretch")).round().to(torch.uint8)

    def _key_of(self, row: int, step: int) -> tuple[object, ...]:
        one = replace(self.settings, prompts=(), every=1)
        return ("sample", self.key, one, self.settings.prompts[row], row, step)
