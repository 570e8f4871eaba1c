"""The host of a job: its input files are those that came with it, its results go to its own folder."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ....common.errors import InvalidInputError
from ....common.printable import printable_name
from ...hosts.command_line import HeadlessHost
from ...hosts.host import Host


@dataclass
class JobHost(HeadlessHost):
    """See the module. No name in a graph leads to another file of the machine, but for models in the models folders.

    Attributes:
        given: the input files by their names in the graph.
    """

    given: Mapping[str, Path] = field(default_factory=dict)

    def input_file(self, name: str) -> Path:
        found = self.given.get(name)
        if found is None:
            raise InvalidInputError(
                f"The job has no input file '{printable_name(name)[:100]}'. Submit it from a folder that has the file."
            )
        return found

    def input_files(self, endings: Set[str]) -> list[str]:
        return sorted(name for name in self.given if Path(name).suffix.lower() in endings)

    def clips_place(self, name: str) -> Path:
        raise InvalidInputError(
            "A job of a queue reads no folders of clips, and trains nothing. Run this graph on the machine that has "
            "them, in ComfyUI or with `wan-director run`."
        )


class NotingHost:
    """A host that notes which input files a graph asks for.

    Attributes:
        asked: those that are there, by their names in the graph.
    """

    def __init__(self, actual: Host) -> None:
        self.asked: dict[str, Path] = {}
        self._actual = actual

    def __getattr__(self, name: str) -> Any:
        return getattr(self._actual, name)

    def input_file(self, name: str) -> Path:
        found = self._actual.input_file(name)
        if found.is_file():
            self.asked[name] = found
        return found

    def as_host(self) -> Host:
        """This, which is one by what it hands on."""
        return cast(Host, self)
