"""The options of `plan`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ....common.errors import InvalidInputError
from .shared import add_graph_options


def add_plan(commands: Any) -> None:
    """The command that says what a workflow takes; `commands`: of the parser."""
    each = commands.add_parser("plan", help="say what a workflow takes on a card, before anything is downloaded")
    each.set_defaults(command="running.plan", check=_check)
    each.add_argument(
        "graph", type=Path, nargs="?", metavar="GRAPH.json", help="a workflow, as for run, or a training's .toml"
    )
    each.add_argument(
        *("--vram", "--gpu-memory"),
        metavar="SIZE",
        help="memory of the card, for example 8GB, of which 1 GB is left free; needed for a workflow",
    )
    each.add_argument("--gpus", type=int, default=1, metavar="N", help="cards that share the video (default: 1)")
    each.add_argument("--ram", metavar="SIZE", help="memory of the machine; without it, RAM is not looked at")
    each.add_argument("--size", metavar="WxHxF", help="width, height and frames, instead of those of the workflow")
    each.add_argument(
        "--table",
        nargs="?",
        const="running",
        choices=("running", "training"),
        help="what runs, or trains, on which card, for the published models",
    )
    add_graph_options(each)


def _check(options: argparse.Namespace) -> None:
    """Refuses what cannot be planned, before anything is imported that takes time.

    Raises:
        InvalidInputError: it is so.
    """
    is_training = options.graph is not None and options.graph.suffix == ".toml"
    if not options.table and not is_training and (options.graph is None or options.vram is None):
        raise InvalidInputError("A plan needs a workflow and --vram, the memory of the card, for example --vram 8GB.")
