"""The state of a training on disk, from which it goes on when it was broken off."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from ..common.log import logger
from ..common.records import record
from ..engine.resuming.digest import digest
from ..engine.resuming.state_file import Unusable, read, write
from ..media.faults import writing_to
from .learner import Learner
from .losses.record import Losses


@record
class KeptTraining:
    """Where the state of a training is kept.

    Attributes:
        path: the file.
        key: of the run: all that its numbers depend on.
    """

    path: Path
    key: str

    @classmethod
    def at(cls, path: Path, *decisive: object) -> KeptTraining:
        """That of a training, by values that `digest` takes."""
        return cls(path, digest(decisive))

    def go_on(self, learner: Learner, losses: Losses) -> None:
        """Brings a learner to where the run was broken off; one that is of other settings is not gone on with."""
        try:
            tensors = read(self.path, self.key)
        except OSError:
            return
        except Unusable as error:
            logger.warning("%s %s: the training begins anew.", self.path.name, error)
            return
        learner.restore(tensors)
        losses.restore(tensors, learner.step)
        logger.info("The training goes on after step %d.", learner.step)

    def keep(self, learner: Learner, losses: Losses) -> None:
        """Keeps the state of this moment.

        Raises:
            OutputError: it cannot be written.
        """
        with writing_to(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write(self.path, learner.tensors() | losses.tensors(), self.key)

    def note_end(self, made: Path, note: Path, losses: Losses) -> None:
        """Notes that this training made a file.

        Raises:
            OutputError: it cannot be written.
        """
        with writing_to(note.parent):
            note.parent.mkdir(parents=True, exist_ok=True)
            write(note, losses.tensors(), self._key_of(made))

    def losses_of(self, made: Path, note: Path) -> Losses | None:
        """What `note_end` was given with a file; None where it is another file, or another training made it."""
        losses = Losses()
        try:
            losses.restore(read(note, self._key_of(made)), 0)
        except (OSError, Unusable):
            return None
        return losses

    def _key_of(self, made: Path) -> str:
        return digest((self.key, sha256(made.read_bytes()).hexdigest()))

    def forget(self) -> None:
        """Once the training has ended."""
        self.path.unlink(missing_ok=True)
