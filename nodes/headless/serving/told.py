"""The runtime of a worker: what is done is told to whoever reports it to the queue."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from ....cluster.worker import Report
from ....common.families import Family
from ....engine.local import LocalRuntime
from ....engine.previews.moving import MovingPicture, PreviewWish
from ....engine.progress import Counted, Often, Pace
from ....engine.runtime import Progress
from .warm import WarmModels

STEP = "step"
PREVIEW_SIDE, PREVIEW_EVERY_S = 256, 2.0


@dataclass
class WorkerRuntime(LocalRuntime):
    """See `LocalRuntime`.

    Attributes:
        report: who is told; nobody between jobs.
        warm: the models in memory.
        ended_steps: of the samplers of the job that have ended.
    """

    report: Report | None = None
    warm: WarmModels = field(default_factory=WarmModels)
    ended_steps: int = 0

    def __post_init__(self) -> None:
        self.models = self.warm

    def begin(self, report: Report, model: str) -> None:
        """A job begins."""
        self.report, self.ended_steps, self.interrupted = report, 0, False
        self.warm.begin(model)

    def progress(self, counted: Counted) -> Progress:
        return ToldProgress(self._where.told(counted), self) if self.report is not None else super().progress(counted)

    def preview_wish(self, family: Family) -> PreviewWish | None:
        return PreviewWish(PREVIEW_SIDE)


class ToldProgress:
    """Progress that goes to a report."""

    def __init__(self, counted: Counted, runtime: WorkerRuntime) -> None:
        assert runtime.report is not None
        self._counted, self._runtime, self._report = counted, runtime, runtime.report
        self._pace, self._pictures = Pace(counted), Often(PREVIEW_EVERY_S)

    def __enter__(self) -> ToldProgress:
        self._tell()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._counted.unit == STEP:
            self._runtime.ended_steps += self._pace.done

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        self._pace.reach(done)
        self._tell()
        if preview is not None and self._pictures.passes():
            self._report.picture(_jpeg(preview))

    def note(self, text: str) -> None:
        self._pace.note(text)
        self._report.words(self._pace.words())

    def _tell(self) -> None:
        self._report.words(self._pace.words())
        if self._counted.unit == STEP:
            self._report.steps(self._runtime.ended_steps + self._pace.done)


def _jpeg(preview: MovingPicture) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(preview.still.numpy()).save(file, "JPEG", quality=80)
    return file.getvalue()
