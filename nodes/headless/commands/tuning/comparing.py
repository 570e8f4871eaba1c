"""`compare`: what a LoRA changes, the same seeds with it at several strengths side by side."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .....common.errors import InvalidInputError, MissingFileError
from .....engine.local import LocalRuntime
from .....model_loading.publishing.known_files import LORAS
from ....hosts.command_line import HeadlessHost
from ...comparing import Comparison, comparison, frames_in, saved_sheet
from ...core_nodes import CORE_NODES
from ...graph import read_graph, set_value
from ...model_paths import Folders
from ...runner import run_graph
from ...serving.warm import WarmModels
from ..bundled import workflow_path
from ..downloading import naming_all_missing
from ..folders import input_folders, model_folders
from ..session import Session
from ..terminal import say


def compare(options: argparse.Namespace, session: Session) -> None:
    """Runs a workflow for each seed and strength, and prints the path of the sheet."""
    seeds, strengths = _numbers(options.seeds, "--seeds", int), _numbers(options.strengths, "--strengths", float)
    folders = model_folders(options)
    name = _lora(options.lora, folders)
    given, options.graph = options.graph, workflow_path(options.graph)
    host = HeadlessHost(folders=folders, inputs=input_folders(options), output=options.output)
    host.runtime = LocalRuntime(options.device, show_progress=not options.quiet, models=WarmModels())
    host.runtime.check_device()
    session.use_host(host)
    classes = {**CORE_NODES, **session.nodes()}
    graph, _ = read_graph(options.graph, classes)
    for assignment in options.set:
        set_value(graph, classes, assignment)
    compared = comparison(graph, classes, name)
    with naming_all_missing(given, options, session), session.stop.between_blocks(host.runtime):
        rows = [[_cell(compared, host, classes, seed, strength) for strength in strengths] for seed in seeds]
    host.output = options.output
    height, width = rows[0][0].shape[1:3]
    place = host.save_place(f"compare_{Path(name).stem}", width, height)
    say(saved_sheet(rows, seeds, strengths, place, compared.fps))


def _cell(compared: Comparison, host: HeadlessHost, classes: Mapping[str, type], seed: int, strength: float) -> Tensor:
    """The frames [F, H, W, 3] of one seed and strength."""
    with tempfile.TemporaryDirectory() as folder, host.runtime.at(f"seed {seed}, strength {strength:g}"):
        host.output = Path(folder)
        run_graph(compared.at(seed, strength), classes)
        return frames_in(Path(folder))


def _numbers(text: str, option: str, kind: type) -> list:
    try:
        found = [kind(each) for each in text.replace(",", " ").split()]
    except ValueError:
        found = []
    if not found:
        raise InvalidInputError(f"{option} are numbers with commas between them, as 1,2,3, got '{text}'.")
    return found


def _lora(given: Path, folders: Folders) -> str:
    """The name of a LoRA in its folders; one that is given as a path adds the folder that it lies in.

    Raises:
        MissingFileError: there is none.
    """
    places = folders.get(LORAS.folder_name, [])
    if not given.is_absolute() and any((folder / given).is_file() for folder in places):
        return str(given)
    if not given.is_file():
        raise MissingFileError(f"There is no LoRA {given}. Give its path, or its name in loras of your model folders.")
    folders[LORAS.folder_name] = [given.absolute().parent, *places]
    return given.name
