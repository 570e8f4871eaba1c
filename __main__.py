"""The command line: `wan-director run | plan | inspect | download | prepare | ...`, or `python -m wan_director`.

A folder that is not installed, as in ComfyUI's custom_nodes, has it as `python FOLDER`, whatever it is called.
"""

from __future__ import annotations

if not __package__:  # `python FOLDER`: Python has put the folder onto its path, where its subfolders would hide others
    import sys
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    _folder = Path(__file__).absolute().parent
    sys.path = [each for each in sys.path if not each or Path(each).absolute() != _folder]
    _spec = spec_from_file_location("wan_director", _folder / "__init__.py", submodule_search_locations=[str(_folder)])
    assert _spec is not None and _spec.loader is not None
    sys.modules["wan_director"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["wan_director"])
    __package__ = "wan_director"

import argparse
import atexit
import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .common.errors import WanDirectorError
from .common.places import Place
from .nodes.headless.commands import terminal
from .nodes.headless.commands.importing import bringing_torch
from .nodes.headless.commands.own_folder import check_own_folder
from .nodes.headless.commands.session import Session
from .nodes.headless.commands.stopping import Stop
from .nodes.headless.parsing.models import add_download, add_extract_lora
from .nodes.headless.parsing.planning import add_plan
from .nodes.headless.parsing.queue import add_asking, add_serving
from .nodes.headless.parsing.shared import add_graph_options, by_name
from .nodes.headless.parsing.tuning import add_compare, add_prepare, add_train

if TYPE_CHECKING:
    from .nodes.hosts.host import Host

OK, FAILED = 0, 1
"""Exit codes; 128 + n when signal n stopped it (130 with Ctrl-C), and argparse exits with 2 on a wrong command line."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit code; a refusal is one sentence on standard error."""
    stop = Stop()
    terminal.prepare()
    try:
        with stop.at_once():
            code, sentence = _carry_out(arguments, stop)
        # Outside the handlers, so that progress bars, which the traceback kept alive, have ended their lines.
        if sentence is not None:
            terminal.complain(f"wan-director: {sentence}")
    except KeyboardInterrupt:
        code = stop.exit_code
        terminal.complain(f"wan-director: {stop.said}")
    except SystemExit as ended:  # --help, --version or a wrong command line
        if _finish() or ended.code:
            raise
        return FAILED
    return code if _finish() or code != OK else FAILED


def command() -> None:
    """`main` as a process of its own.

    It is gone when its own ends are done: to take torch down takes half a second, and seconds on a busy machine.
    """
    codes: list[int] = []
    atexit.register(_leave, codes)  # registered first, so called after all others
    codes.append(main())
    sys.exit(codes[0])


def _leave(codes: list[int]) -> None:
    if codes:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # one that was closed from the start is None
            with contextlib.suppress(OSError, ValueError):  # its reader may be gone
                stream.flush()
        os._exit(codes[0])


def _carry_out(arguments: list[str] | None, stop: Stop) -> tuple[int, str | None]:
    """Runs the command; gives the exit code and what is to be said."""
    try:
        options = _parser().parse_args(arguments)
        getattr(options, "check", _nothing_to_check)(options)
        options.words = sys.argv[1:] if arguments is None else arguments
        terminal.log_to_terminal(quiet=getattr(options, "quiet", False))
        check_own_folder()
        with stop.at_the_end(), bringing_torch():
            command = _command(options.command)
        command(options, Session(stop, partial(_nodes, stop), _use_host))
        return OK, None
    except (Exception, KeyboardInterrupt) as error:  # a border: a signal may come out of foreign code as any error
        if isinstance(error, KeyboardInterrupt) or stop.number is not None:
            return stop.exit_code, stop.said
        if not isinstance(error, WanDirectorError):
            raise
        return FAILED, _sentence(error)


def _sentence(error: WanDirectorError) -> str:
    """What is to be said; the nodes that an error speaks of are known where torch is, so one of none does not wait."""
    if not any(isinstance(part, Place) for part in error.parts):
        return str(error)
    from .nodes.files.places import sentence

    return sentence(error)


def _nothing_to_check(options: argparse.Namespace) -> None:
    """Most commands check what they are given where they use it."""


def _command(place: str) -> Callable[[argparse.Namespace, Session], None]:
    """The function called `module.name`, imported only now: it brings torch in."""
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(f".nodes.headless.commands.{module}", __package__), name)


def _nodes(stop: Stop) -> Mapping[str, type]:
    with stop.at_the_end():
        from . import NODE_CLASS_MAPPINGS

    return NODE_CLASS_MAPPINGS


def _use_host(host: Host) -> None:
    from .nodes.hosts.host import use_host

    use_host(host)


def _finish() -> bool:
    try:
        terminal.finish()
    except WanDirectorError as error:
        terminal.complain(f"wan-director: {error}")
        return False
    return True


def version() -> str:
    """The pack's version: of this folder where it is a checkout, else as installed."""
    project = Path(__file__).resolve().parent / "pyproject.toml"
    if project.is_file():
        found = re.search(r'^version = "(.+)"$', project.read_text(encoding="utf-8"), re.MULTILINE)
        return found[1] if found else "unknown"
    from importlib import metadata

    return metadata.version("wan-director")


class _Version(argparse.Action):
    """Prints the version, which is looked up only for that."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        terminal.say(f"wan-director {version()}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wan-director", description="Runs the Wan video models without ComfyUI.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    each = commands.add_parser("run", help="run a workflow saved by ComfyUI, or a bundled one")
    each.set_defaults(command="running.run")
    each.add_argument("graph", type=Path, metavar="GRAPH.json", help="a workflow's file, or a bundled one's name")
    add_graph_options(each)
    each.add_argument(
        "--output", type=Path, default=Path("output"), metavar="DIR", help="for results (default: output)"
    )
    each.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (auto: the GPU if there is one)")
    each.add_argument(
        "--gpus",
        metavar="N",
        help="share each video among N GPUs, or all of this machine; with --device cpu, among N processes",
    )
    each.add_argument(
        "--prompts", type=Path, metavar="FILE", help="run it for each line of a file: 832x480x81 | cat.png | a prompt"
    )
    each.add_argument("--quiet", action="store_true", help="no progress, only warnings")
    each.add_argument(
        "--no-resume",
        dest="resume",
        action="store_false",
        help="start anew where an earlier run was broken off, and keep nothing where this one is",
    )

    add_plan(commands)

    each = commands.add_parser("inspect", help="say what a model file is and what goes with it")
    each.set_defaults(command="model_files.inspect")
    each.add_argument("file", type=by_name, metavar="FILE", help="a model file, or a folder of its parts")
    add_download(commands)
    add_extract_lora(commands)
    add_prepare(commands)
    add_train(commands)
    add_compare(commands)
    add_serving(commands)
    add_asking(commands)

    each = commands.add_parser("member")  # without help: processes that share runs are started by others
    each.set_defaults(command="running.member", quiet=True)
    each.add_argument("--device", default="auto")

    each = commands.add_parser("workflows", help="list the bundled workflows, which run and plan take by name")
    each.set_defaults(command="listing.workflows")

    each = commands.add_parser("nodes", help="list the nodes")
    each.set_defaults(command="listing.nodes")
    each.add_argument("--json", action="store_true", help="all that ComfyUI's server tells about them")
    return parser


if __name__ == "__main__":
    command()
