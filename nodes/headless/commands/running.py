"""`run` and `plan`, and `member`, which is no command for people."""

from __future__ import annotations

import argparse
from pathlib import Path

from ....common.errors import OutputError
from ....memory.budget import parse_bytes
from ...hosts.command_line import HeadlessHost
from ...planning.plan import machine, parse_size, plan_graph
from ..checks import check_values, needed
from ..core_nodes import CORE_NODES
from ..graph import read_graph, set_value
from ..sharing import planned_runtime, runtime_of, serve_runs
from .bundled import workflow_path
from .downloading import naming_all_missing
from .folders import input_folders, model_folders
from .prompt_lines import lines_of, run_lines
from .session import Session
from .terminal import complain, say
from .tuning.planning import plan_config, table_of


def run(options: argparse.Namespace, session: Session) -> None:
    """Runs a workflow and prints the files it saved."""
    given = options.graph
    options.graph = workflow_path(given)
    host = HeadlessHost(folders=model_folders(options), inputs=input_folders(options), output=options.output)
    with runtime_of(options) as host.runtime:
        _run_on(host, given, options, session)


def _run_on(host: HeadlessHost, given: Path, options: argparse.Namespace, session: Session) -> None:
    session.use_host(host)
    host.runtime.check_device()
    classes = {**CORE_NODES, **session.nodes()}
    lines = [None] if options.prompts is None else lines_of(options.prompts)
    try:
        with naming_all_missing(given, options, session), session.stop.between_blocks(host.runtime):
            for shown in run_lines(lines, options, classes):
                _tell_all(shown, options)
    finally:
        session.stop.goes_on = host.runtime.kept_runs.holds_some
    host.runtime.kept_runs.forget_ended()


def _tell_all(shown: list[dict], options: argparse.Namespace) -> None:
    for each in shown:
        for saved in each.get("images", []):
            _tell(options.output / saved["subfolder"] / saved["filename"])


def _tell(saved: Path) -> None:
    try:
        say(saved)
    except OutputError:
        complain(f"saved: {saved}")
        raise


def plan(options: argparse.Namespace, session: Session) -> None:
    """Prints what each stage of a workflow, or a step of a training, takes on a card; refuses what does not fit."""
    if options.table:
        say(table_of(options.table))
        return
    given: Path = options.graph
    if given.suffix == ".toml":
        plan_config(options)
        return
    options.graph = workflow_path(given)
    vram, ram = parse_bytes(options.vram), None if options.ram is None else parse_bytes(options.ram)
    runtime = planned_runtime(options)
    session.use_host(HeadlessHost(folders=model_folders(options), inputs=input_folders(options), runtime=runtime))
    classes = {**CORE_NODES, **session.nodes()}
    graph, _ = read_graph(options.graph, classes)
    for assignment in options.set:
        set_value(graph, classes, assignment)
    graph = check_values(needed(graph, classes), classes)
    size = None if options.size is None else parse_size(options.size)
    with naming_all_missing(given, options, session):
        made = plan_graph(graph, machine(vram, ram, options.gpus), size, classes)
    say(made.text)
    made.check()


def member(options: argparse.Namespace, session: Session) -> None:
    """Makes runs with the process that has started this one, until that ends."""
    session.use_host(HeadlessHost())
    serve_runs(options.device)
