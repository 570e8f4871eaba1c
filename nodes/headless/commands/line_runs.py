"""The runs of one `run`: of the workflow as it is, or of each line of a file of prompts."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence

from ....common.errors import WanDirectorError
from ....common.log import logger
from ....common.printable import printable_name
from ...planning.rehearsal import rehearse
from ..checks import NodeClasses, check_graph
from ..graph import Graph, read_graph, set_value
from ..runner import run_graph
from .prompt_lines import PromptLine, assignments, at_line, lines_of

__all__ = ["lines_of", "run_lines"]


def run_lines(
    lines: Sequence[PromptLine | None], options: argparse.Namespace, classes: NodeClasses
) -> Iterator[list[dict]]:
    """Runs the workflow for each line, None for itself, and gives what each run shows.

    Several are checked before the first one takes long.

    Raises:
        WanDirectorError: what the workflow refuses, with the number of the line.
    """
    for line in lines if len(lines) > 1 else ():
        _check(line, options, classes)
    for line in lines:
        yield _run(line, options, classes)


def _read(line: PromptLine | None, options: argparse.Namespace, classes: NodeClasses) -> tuple[Graph, dict | None]:
    """The workflow with the values of the options, and those of a line of prompts."""
    graph, workflow = read_graph(options.graph, classes)
    for assignment in (*options.set, *(() if line is None else assignments(line, graph, classes))):
        with _at(line):
            set_value(graph, classes, assignment, workflow)
    return graph, workflow


def _check(line: PromptLine | None, options: argparse.Namespace, classes: NodeClasses) -> None:
    graph, _ = _read(line, options, classes)
    with _at(line):
        rehearse(check_graph(graph, classes), classes)


def _run(line: PromptLine | None, options: argparse.Namespace, classes: NodeClasses) -> list[dict]:
    graph, workflow = _read(line, options, classes)
    if line is not None:
        logger.info("Line %d: %s", line.number, printable_name(line.prompt))
    with _at(line):
        return run_graph(graph, classes, workflow)


@contextlib.contextmanager
def _at(line: PromptLine | None) -> Iterator[None]:
    """Inside, a refusal says which line of the prompts it is of."""
    try:
        yield
    except WanDirectorError as error:
        if line is None:
            raise
        refusal = at_line(line, error)
    else:
        return
    raise refusal from None
