"""The state of a training on disk, from which it goes on when it was broken off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..common.log import logger
from ..engine.resuming.digest import digest
from ..engine.resuming.state_file import Unusable, read, write
from ..media.faults import writing_to
from .learner import Learner


@dataclass(frozen=True, slots=True)
class KeptTraining:
    """Where the state of a training is kept.

    Attributes:
        path: the file.
        key: of the run: all that its numbers depend on.
    """

    path: Path
    key: str

    @classmethod
    def beside(cls, target: Path, *decisive: object) -> KeptTraining:
        """That of the training whose file is `target`, by values that `digest` takes."""
        return cls(target.with_suffix(".training.safetensors"), digest(decisive))

    def go_on(self, learner: Learner) -> None:
        """Brings a learner to where the run was broken off; one that is of other settings is not gone on with."""
        try:
            learner.restore(read(self.path, self.key))
        except OSError:
            return
        except Unusable as error:
            logger.warning("%s %s: the training begins anew.", self.path.name, error)
            return
        logger.info("The training goes on after step %d.", learner.step)

    def keep(self, learner: Learner) -> None:
        """Keeps the state of this moment.

        Raises:
            OutputError: it cannot be written.
        """
        with writing_to(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write(self.path, learner.tensors(), self.key)

    def forget(self) -> None:
        """Once the training has ended."""
        self.path.unlink(missing_ok=True)
