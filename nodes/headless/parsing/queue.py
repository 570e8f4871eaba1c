"""The commands that serve a queue of videos, and ask it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ....common.errors import InvalidInputError
from .shared import add_graph_options, add_model_options

_MOST_LISTED = 500


def add_serving(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "serve",
        help="serve a queue of videos, to be made on this machine or by a cluster",
        description="Serves the queue in FOLDER until it is stopped, with workers of this machine; others join in with "
        "`work`. With --ray, a Ray cluster runs both, and this returns at once. FOLDER is one that all machines share.",
    )
    each.set_defaults(command="queue.serving.serve", check=_check_serving)
    each.add_argument("folder", type=Path, metavar="FOLDER", help="for jobs, input files, results and saved states")
    each.add_argument("--workers", type=int, default=0, metavar="N", help="of this machine, or of the Ray cluster")
    each.add_argument("--host", default="127.0.0.1", help="to listen at (default: 127.0.0.1, this machine alone)")
    each.add_argument("--port", type=int, default=8189, metavar="N", help="to listen at (default: 8189)")
    each.add_argument("--name", dest="called", metavar="NAME", help="by which other machines know this one")
    each.add_argument("--queue-file", type=Path, metavar="FILE", help="default: queue.sqlite in FOLDER")
    each.add_argument("--span", type=float, default=60.0, metavar="S", help="a worker may be silent for (default: 60)")
    each.add_argument("--tries", type=int, default=3, metavar="N", help="before a job is set aside (default: 3)")
    each.add_argument("--keep-days", type=float, default=7.0, metavar="N", help="for results (default: 7)")
    each.add_argument(
        "--ray", metavar="ADDRESS", help="of a Ray cluster that runs it all; auto: the one of this machine"
    )
    each.add_argument("--stop", action="store_true", help="with --ray: end it")
    _add_worker_options(each)

    each = commands.add_parser("work", help="make the videos of a queue, one after another")
    each.set_defaults(command="queue.working.work", check=_check_working)
    each.add_argument("folder", type=Path, metavar="FOLDER", help="that serve was given")
    each.add_argument("--to", metavar="URL", help="of the queue (default: as serve has written into FOLDER)")
    each.add_argument("--name", metavar="NAME", help="in the list of workers; of one process at a time")
    each.add_argument("--gpus", default="1", metavar="N", help="that it has for a video, or all (default: 1)")
    each.add_argument("--only", action="store_true", help="only jobs that want as many GPUs")
    _add_worker_options(each)


def add_asking(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser("submit", help="queue a workflow, and print the job's id")
    each.set_defaults(command="queue.asking.submit")
    each.add_argument("graph", type=Path, metavar="GRAPH.json", help="a workflow, as for run")
    each.add_argument("--prompts", type=Path, metavar="FILE", help="a job for each line of a file, see run")
    each.add_argument(
        "--priority", type=int, default=0, metavar="N", help="-100 to 100, higher ones first (default: 0)"
    )
    each.add_argument("--title", default="", help="in the list of jobs")
    each.add_argument("--gpus", type=int, default=1, metavar="N", help="of one machine, that share each video")
    _add_queue_options(each)
    add_graph_options(each)

    each = commands.add_parser("status", help="say how far jobs are, or list the newest")
    each.set_defaults(command="queue.asking.status", check=_check_status)
    each.add_argument("ids", nargs="*", metavar="ID", help="of jobs")
    each.add_argument("--state", help="only those: queued, running, done, failed, aside, cancelled")
    each.add_argument("--limit", type=int, default=20, metavar="N", help="how many are listed (default: 20)")
    _add_queue_options(each)

    for name, what in (("cancel", "end jobs"), ("again", "queue jobs anew that failed or were ended")):
        each = commands.add_parser(name, help=what)
        each.set_defaults(command=f"queue.asking.{name}")
        each.add_argument("ids", nargs="+", metavar="ID", help="of jobs")
        _add_queue_options(each)

    each = commands.add_parser("fetch", help="download what jobs have made")
    each.set_defaults(command="queue.asking.fetch")
    each.add_argument("ids", nargs="+", metavar="ID", help="of jobs")
    each.add_argument(
        "--output", type=Path, default=Path("output"), metavar="DIR", help="for a folder of each (default: output)"
    )
    each.add_argument("--wait", action="store_true", help="until they have ended")
    _add_queue_options(each)


def _add_worker_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ..., see run")
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings")
    add_model_options(parser)


def _add_queue_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="URL", help="of the queue (default: WAN_DIRECTOR_QUEUE, or this machine)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="default: WAN_DIRECTOR_QUEUE_TOKEN has the token"
    )


def _check_serving(options: argparse.Namespace) -> None:
    """Refuses what no queue can be served with, before anything is imported that takes time.

    Raises:
        InvalidInputError: it is so.
    """
    if options.stop and options.ray is None:
        raise InvalidInputError(
            "--stop ends what runs in a Ray cluster. Name it with --ray ADDRESS; a server without one ends with Ctrl-C."
        )
    if options.workers < 0:
        raise InvalidInputError(f"--workers is 0 or more, got {options.workers}. Write it like --workers 1.")
    if not 0 <= options.port <= 65535:
        raise InvalidInputError(f"A port is from 0, any that is free, to 65535, got {options.port}. Choose another.")
    if not 1 <= options.span < float("inf"):
        raise InvalidInputError(f"--span is 1 second or more, got {options.span:g}. Write it like --span 60.")
    if options.tries < 1:
        raise InvalidInputError(f"--tries is 1 or more, got {options.tries}. Write it like --tries 3.")
    if not options.keep_days > 0:
        raise InvalidInputError(f"--keep-days is more than 0, got {options.keep_days:g}. Write it like --keep-days 7.")


def _check_working(options: argparse.Namespace) -> None:
    """Refuses what no worker can be.

    Raises:
        InvalidInputError: it is so.
    """
    if options.only and options.gpus == "1":
        raise InvalidInputError("--only is for a worker of several GPUs, and this one has 1. Add --gpus N.")


def _check_status(options: argparse.Namespace) -> None:
    """Refuses what cannot be listed.

    Raises:
        InvalidInputError: it is so.
    """
    if options.ids and options.state is not None:
        raise InvalidInputError("Jobs are shown by their ids or by --state. Leave one of them out.")
    if not 1 <= options.limit <= _MOST_LISTED:
        raise InvalidInputError(
            f"--limit is from 1 to {_MOST_LISTED} jobs, got {options.limit}. Write it like --limit 20."
        )
