"""The errors a user can meet. Every message says what was found, what was expected, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .places import Place


class WanDirectorError(Exception):
    """Base of every error that is the user's to solve; its text is one clear sentence (or two).

    Args:
        parts: pieces of that text, and the places it speaks of.
    """

    # ComfyUI shows an error's full name, and there the name of a module of ours begins with the path of its folder.
    __module__ = "wan_director"

    def __init_subclass__(cls) -> None:
        cls.__module__ = "wan_director"

    def __init__(self, *parts: str | Place) -> None:
        super().__init__("".join(map(str, parts)))
        self.parts = parts

    def naming(self, names: Mapping[Place, str]) -> WanDirectorError:
        """The error with the places called as an interface calls them; itself where it speaks of none of them."""
        if names.keys().isdisjoint(part for part in self.parts if isinstance(part, Place)):
            return self
        named = (names.get(part, part) if isinstance(part, Place) else part for part in self.parts)
        return type(self)(*named)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without it a pickle would look for the class in the module that is only shown.
        return _made_again, (type(self).__name__, self.parts)


class InvalidInputError(WanDirectorError, ValueError):
    """A widget, prompt, image or latent has a value that cannot work."""


class CheckpointError(WanDirectorError):
    """A model file is damaged, unsafe, or not what it should be."""


class FileFault(CheckpointError):  # noqa: N818  (the error is what it becomes)
    """What is wrong with a model file, as a reader of its contents says it, who does not know what the file is called.

    Whoever opened the file says it with the file's name and what to do, see `about`.

    Args:
        what: what was found and expected, as it goes on after the name ("is incomplete (3.2 of 14.3 GB)").
        advice: what to do; with a capital letter it is a sentence of its own, and "" leaves it out.
        part: what in the file `what` is said of, where that is not the file itself ("tensor 'x'").
    """

    def __init__(self, what: str, advice: str = "download it again", part: str = "") -> None:
        self.what, self.advice, self.part = what, advice, part
        super().__init__(self._sentence("The file"))
        self.parts = (what, advice, part)  # a pickle makes it again of them

    def about(self, name: str) -> CheckpointError:
        """The error a user meets: with the name of the file, and with what to do."""
        return CheckpointError(self._sentence(name))

    def _sentence(self, name: str) -> str:
        subject = f"{name}: {self.part}" if self.part else name
        joint = ". " if self.advice[:1].isupper() else ": " if self.advice else ""
        return f"{subject} {self.what}{joint}{self.advice}."


class MissingFileError(WanDirectorError, FileNotFoundError):
    """A model file or input file is not where it was looked for."""


class PairingError(WanDirectorError):
    """Two model files, or a model and its inputs, do not belong together."""


class MissingPackageError(WanDirectorError, ImportError):
    """An optional package was chosen but is not installed."""


class GraphError(WanDirectorError):
    """A workflow file cannot be run: unknown node, unknown input, missing link."""


class DownloadError(WanDirectorError):
    """A model file could not be downloaded."""


class NumericalError(WanDirectorError):
    """A computation gave NaN or infinite values."""


class OutputError(WanDirectorError):
    """A result could not be written: folder, disk or encoder."""


class UnknownValueError(WanDirectorError):
    """A plan came to a question that only the run itself can answer."""


class WritingError(WanDirectorError):
    """A language model gave no prompt."""


class SharingError(WanDirectorError):
    """A device that shares a run has ended before it."""


class ClusterError(WanDirectorError):
    """The queue of a cluster refuses, or does not answer."""


class OutOfMemory(WanDirectorError):  # noqa: N818  (as torch calls it)
    """The device or the machine has not enough memory for what was asked."""


class GivenUp(RuntimeError):  # noqa: N818  (whose fault it is has another name)
    """A device cannot go on with what all do, and all of them know.

    Attributes:
        is_memory: whether it ran out of memory.
    """

    def __init__(self, *, is_memory: bool) -> None:
        super().__init__("one of the devices is out of memory" if is_memory else "one of the devices has stopped")
        self.is_memory = is_memory


def _made_again(name: str, parts: tuple[str | Place, ...]) -> WanDirectorError:
    """The error of a class in this file, as it was pickled."""
    return globals()[name](*parts)
