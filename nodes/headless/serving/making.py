"""Making a job's video: its graph on this machine's models, gone on with where another worker was lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ....cluster.folder import SharedFolder
from ....cluster.jobs import Leased
from ....cluster.worker import NoLonger, Report
from ....engine.local import Interrupted
from ...hosts.host import Host
from ..checks import NodeClasses
from ..graph import parse_graph
from ..runner import run_graph
from .job_host import JobHost
from .joining import made_together
from .told import WorkerRuntime


@dataclass
class GraphMaker:
    """See `cluster.worker.Maker`.

    Attributes:
        folder: the shared one, for input files.
        folders: of models, see `HeadlessHost`.
        classes: the nodes.
        runtime: what the models run on.
        use_host: makes a host that of this process.
    """

    folder: SharedFolder
    folders: Mapping[str, list[Path]]
    classes: NodeClasses
    runtime: WorkerRuntime
    use_host: Callable[[Host], None]

    def make(self, job: Leased, output: Path, report: Report) -> None:
        given = self.folder.inputs(job.files)
        self.runtime.begin(report, job.model)
        self.use_host(JobHost(folders=self.folders, output=output, runtime=self.runtime, given=given))
        workflow = None if job.workflow is None else dict(job.workflow)
        try:
            with made_together(job, self.folders, given, self.runtime):
                run_graph(parse_graph(job.prompt, self.classes, "The graph"), self.classes, workflow)
        except Interrupted:
            raise NoLonger from None
        finally:
            self.runtime.report = None

    def stop(self) -> None:
        self.runtime.interrupted = True

    def made(self) -> None:
        self.runtime.kept_runs.forget_ended()
