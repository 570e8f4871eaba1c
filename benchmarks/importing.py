"""What the pack adds to the start of a ComfyUI: importing it with all its nodes, once ComfyUI and torch are there.

`COMFYUI_PATH=… COMFYUI_PYTHON=… python -m wan_director.benchmarks.importing [--repeats 7]`. Every run is a process of
its own. "first" is the start after the pack was installed, when Python compiles its files; every later start reads what
that one left in `__pycache__`. Where nothing may be written there (a read-only folder, PYTHONDONTWRITEBYTECODE) every
start is a first one. The schemas, which the page asks for when it opens, are told apart.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from wan_director.common.log import logger

from .report import load_average

PACK = Path(__file__).resolve().parents[1]

_IMPORTING = """
import importlib, sys, time
sys.path[:0] = sys.argv[1:]
sys.argv = sys.argv[:1]
import comfy.options
comfy.options.enable_args_parsing(False)
import comfy.cli_args
comfy.cli_args.args.cpu = True
import utils.extra_config  # before `execution` puts ComfyUI's own module of that name into the way
import execution, folder_paths, server
present = set(sys.modules)
begun = time.perf_counter()
classes = importlib.import_module("wan_director").NODE_CLASS_MAPPINGS
imported = time.perf_counter()
for node in classes.values():
    node.INPUT_TYPES()
described = time.perf_counter()
print(imported - begun, described - imported, len(set(sys.modules) - present))
"""


class Took(NamedTuple):
    """Of one start: seconds of importing and of describing all nodes, and how many modules came."""

    import_s: float
    schemas_s: float
    modules: int


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.importing", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="starts of each kind (default 7)")
    options = parser.parse_args(arguments)
    comfyui = os.environ.get("COMFYUI_PATH")
    if not comfyui:
        parser.error("set COMFYUI_PATH to the folder of a ComfyUI, and COMFYUI_PYTHON to its Python")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    logger.setLevel(logging.INFO)
    print(f"load {load_average()}, {options.repeats} starts of each kind, medians")
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "packs", "wan_director")
        link.parent.mkdir()
        link.symlink_to(PACK, target_is_directory=True)
        for name, caches in (("first", None), ("later", Path(folder, "compiled"))):
            if caches is not None:
                _start(python, Path(comfyui), link.parent, caches)
            took = [_start(python, Path(comfyui), link.parent, caches) for _ in range(options.repeats)]
            imports, schemas, modules = (median(values) for values in zip(*took))
            print(
                f"{name}: import {imports:.3f} s ({min(each.import_s for each in took):.3f} at best), "
                f"schemas of all nodes {schemas:.3f} s, {modules:.0f} modules"
            )
    return 0


def _start(python: str, comfyui: Path, packs: Path, caches: Path | None) -> Took:
    """One start; compiled files are kept in `caches`, or nowhere."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if caches is None:
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(packs / "none")}
    else:
        environment["PYTHONPYCACHEPREFIX"] = str(caches)
    command = [python, "-c", _IMPORTING, str(comfyui), str(packs)]
    done = subprocess.run(command, env=environment, cwd=comfyui, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The start failed:\n{done.stderr[-2000:]}")
    import_s, schemas_s, modules = done.stdout.split()[-3:]
    return Took(float(import_s), float(schemas_s), int(modules))


if __name__ == "__main__":
    sys.exit(main())
