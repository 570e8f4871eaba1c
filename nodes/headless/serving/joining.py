"""A job that several GPUs make together: the worker's own process and others, each of which runs the whole graph."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from ....cluster.jobs import Leased
from ....engine.films.kept import NO_FILMS_KEPT
from ....engine.local import LocalRuntime
from ....engine.runtime import WhoJoins
from ...hosts.host import host, use_host
from ...registry import registered
from ..core_nodes import CORE_NODES
from ..graph import parse_graph
from ..runner import run_graph
from .job_host import JobHost
from .told import WorkerRuntime


class JoinedJob(NamedTuple):
    """A job as another process takes part in it; see `engine.runtime.Shareable`. What it saves is kept nowhere.

    Attributes:
        prompt: the graph in the server's format.
        folders: of models, see `HeadlessHost`.
        given: the input files by their names in the graph.
        runtime: of that process.
    """

    prompt: Mapping[str, Any]
    folders: Mapping[str, list[Path]]
    given: Mapping[str, Path]
    runtime: LocalRuntime | WhoJoins

    def join(self) -> None:
        """Runs the graph."""
        classes, earlier = {**CORE_NODES, **registered()}, host()
        with tempfile.TemporaryDirectory(prefix="wan-director-", ignore_cleanup_errors=True) as output:
            runtime = cast(LocalRuntime, self.runtime)  # `sharing.packing` has put it there
            use_host(JobHost(folders=self.folders, output=Path(output), runtime=runtime, given=self.given))
            try:
                run_graph(parse_graph(self.prompt, classes, "The graph"), classes)
            finally:
                use_host(earlier)


@contextlib.contextmanager
def made_together(
    job: Leased, folders: Mapping[str, list[Path]], given: Mapping[str, Path], runtime: WorkerRuntime
) -> Iterator[None]:
    """Inside, so many GPUs as a job wants make what runs here, as `run --gpus` has them; one makes it alone.

    The others stay for the next job of as many GPUs, with their models as long as this process has them.

    Raises:
        InvalidInputError: this worker has not so many GPUs.
        SharingError: one of the others has ended.
    """
    if job.gpus == 1:
        yield
        return
    request = partial(JoinedJob, dict(job.prompt), dict(folders), dict(given), WhoJoins())
    films = runtime.kept_films
    with runtime.shared(request, job.gpus, runtime.device("dit")) as sharing:
        alone, runtime.sharing, runtime.kept_films = runtime.sharing, sharing, NO_FILMS_KEPT
        try:
            yield
        finally:
            runtime.sharing, runtime.kept_films = alone, films
