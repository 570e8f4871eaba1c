"""The command line: `wan-director run | plan | inspect | download | nodes`, also as `python -m wan_director`."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from .common.errors import InvalidInputError, MissingFileError, WanDirectorError
from .common.log import logger

OK, FAILED, STOPPED = 0, 1, 130
"""Exit codes; argparse exits with 2 on a wrong command line."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit code; a refusal is one sentence on standard error."""
    options = _parser().parse_args(arguments)
    _log_to_terminal(quiet=getattr(options, "quiet", False))
    from .nodes.headless.host import Interrupted

    try:
        options.command(options)
        return OK
    except WanDirectorError as error:
        code, sentence = FAILED, str(error)
    except (Interrupted, KeyboardInterrupt):
        code, sentence = STOPPED, "stopped."
    # Outside the handlers, so that progress bars, which the traceback kept alive, have ended their lines.
    print(f"wan-director: {sentence}", file=sys.stderr)
    return code


def run(options: argparse.Namespace) -> None:
    """Runs a workflow and prints the files it saved."""
    from . import NODE_CLASS_MAPPINGS
    from .nodes.headless.core_nodes import CORE_NODES
    from .nodes.headless.graph import read_graph, set_value
    from .nodes.headless.host import HeadlessHost
    from .nodes.headless.runner import run_graph
    from .nodes.host import use_host

    host = HeadlessHost(
        folders=_model_folders(options),
        inputs=_input_folders(options),
        output=options.output,
        device_name=options.device,
        show_progress=not options.quiet and sys.stderr.isatty(),
    )
    use_host(host)
    classes = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
    graph, workflow = read_graph(options.graph, classes)
    for assignment in options.set:
        set_value(graph, classes, assignment, workflow)
    with _stopping_at_ctrl_c(host):
        shown = run_graph(graph, classes, workflow)
    for each in shown:
        for saved in each.get("images", []):
            print(options.output / saved["subfolder"] / saved["filename"])


def plan(options: argparse.Namespace) -> None:
    """Prints what each stage of a workflow takes on a card; refuses what does not fit."""
    from . import NODE_CLASS_MAPPINGS
    from .memory.budget import parse_bytes
    from .nodes.headless.core_nodes import CORE_NODES
    from .nodes.headless.graph import read_graph, set_value
    from .nodes.headless.host import HeadlessHost
    from .nodes.headless.plan import machine, parse_size, plan_graph
    from .nodes.headless.plan_table import table
    from .nodes.host import use_host

    if options.table:
        print(table())
        return
    if options.graph is None or options.vram is None:
        raise InvalidInputError("A plan needs a workflow and --vram, the memory of the card, for example --vram 8GB.")
    vram, ram = parse_bytes(options.vram), parse_bytes(options.ram) if options.ram else None
    use_host(HeadlessHost(folders=_model_folders(options), inputs=_input_folders(options)))
    classes = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
    graph, _ = read_graph(options.graph, classes)
    for assignment in options.set:
        set_value(graph, classes, assignment)
    made = plan_graph(graph, machine(vram, ram), parse_size(options.size) if options.size else None)
    print(made.text)
    made.check()


def inspect(options: argparse.Namespace) -> None:
    """Prints what a model file is; then refuses one that lacks tensors."""
    from .model_loading.build import check_complete
    from .model_loading.checkpoint import open_checkpoint
    from .model_loading.describe import describe
    from .model_loading.detect import inspect_checkpoint
    from .model_loading.foreign import is_lora
    from .model_loading.lora import describe_lora

    checkpoint = open_checkpoint(options.file)
    if is_lora(checkpoint.tensors):
        print(describe_lora(checkpoint))
        return
    spec = inspect_checkpoint(checkpoint)
    print(describe(spec, checkpoint))
    check_complete(spec)


def download(options: argparse.Namespace) -> None:
    """Downloads a published model file to where `run` finds it, and prints the path."""
    from .model_loading.download import download as fetch
    from .model_loading.known_files import KNOWN_FILES, known_file

    file = known_file(options.name)
    if file is None:
        names = "\n  ".join(f"{known.name}  {known.what}" for known in KNOWN_FILES)
        raise MissingFileError(f"'{options.name}' is not a file known here. The known ones are:\n  {names}")
    models = options.comfyui / "models" if options.comfyui else options.models
    print(fetch(file, models / file.folder.removeprefix("models/")))


def nodes(options: argparse.Namespace) -> None:
    """Prints the nodes with their inputs and outputs."""
    from . import NODE_CLASS_MAPPINGS

    if options.json:
        print(json.dumps({id: node.GET_NODE_INFO_V1() for id, node in NODE_CLASS_MAPPINGS.items()}, indent=1))
        return
    for id, node in NODE_CLASS_MAPPINGS.items():
        info = node.GET_NODE_INFO_V1()
        inputs = [name if group == "required" else f"{name}?" for group in ("required", "optional")
                  for name in info["input_order"].get(group, [])]  # fmt: skip
        print(f"{id} ({info['display_name']})\n  {', '.join(inputs)} -> {', '.join(info['output_name']) or 'a file'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wan-director", description="Runs the Wan video models without ComfyUI.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    each = commands.add_parser("run", help="run a workflow saved by ComfyUI")
    each.set_defaults(command=run)
    each.add_argument("graph", type=Path, metavar="GRAPH.json", help="a workflow, saved by Save or by Export (API)")
    _add_graph_options(each)
    each.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="where results go (output)")
    each.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (auto: the GPU if there is one)")
    each.add_argument("--quiet", action="store_true", help="no progress, only warnings")

    each = commands.add_parser("plan", help="say what a workflow takes on a card, before anything is downloaded")
    each.set_defaults(command=plan)
    each.add_argument("graph", type=Path, nargs="?", metavar="GRAPH.json", help="a workflow, as for run")
    each.add_argument("--vram", metavar="SIZE", help="memory of the card, for example 8GB; 1 GB of it is left free")
    each.add_argument("--ram", metavar="SIZE", help="memory of the machine; without it, RAM is not looked at")
    each.add_argument("--size", metavar="WxHxF", help="width, height and frames, instead of those of the workflow")
    each.add_argument("--table", action="store_true", help="what runs on which card, for the published models")
    _add_graph_options(each)

    each = commands.add_parser("inspect", help="say what a model file is and what goes with it")
    each.set_defaults(command=inspect)
    each.add_argument("file", type=Path, metavar="FILE", help="a model file, or a folder of its parts")

    each = commands.add_parser("download", help="download a model file to where it belongs")
    each.set_defaults(command=download)
    each.add_argument("name", metavar="NAME", help="a file's name, for example wan_2.1_vae.safetensors; ? lists them")
    each.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help="the models folder (models)")
    each.add_argument("--comfyui", type=Path, metavar="DIR", help="a ComfyUI folder, instead of --models")

    each = commands.add_parser("nodes", help="list the nodes")
    each.set_defaults(command=nodes)
    each.add_argument("--json", action="store_true", help="all that ComfyUI's server tells about them")
    return parser


def _add_graph_options(parser: argparse.ArgumentParser) -> None:
    """What `run` and `plan` have in common: values to change, and where files are."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="change a value; NODE is an id, a title or a class, for example 3.seed=7; may be repeated",
    )
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="a folder with diffusion_models, vae, text_encoders, ..."
    )
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="a ComfyUI folder, for its models and input files")
    parser.add_argument("--extra-model-paths", type=Path, metavar="FILE", help="an extra_model_paths.yaml of ComfyUI")


def _model_folders(options: argparse.Namespace) -> dict[str, list[Path]]:
    from .nodes.headless.model_paths import extra_model_paths, joined, models_in, models_of_comfyui

    folders = []
    if options.models:
        folders.append(models_in(options.models))
    if options.comfyui:
        folders.append(models_of_comfyui(options.comfyui))
    if options.extra_model_paths:
        folders.append(extra_model_paths(options.extra_model_paths))
    if not folders and Path("models").is_dir():
        folders.append(models_in(Path("models")))
    return joined(*folders)


def _input_folders(options: argparse.Namespace) -> tuple[Path, ...]:
    comfyui = (options.comfyui / "input",) if options.comfyui else ()
    return (Path("."), options.graph.parent, options.graph.parent / "input", *comfyui)


@contextlib.contextmanager
def _stopping_at_ctrl_c(host) -> Iterator[None]:
    """The first Ctrl-C stops the run between two blocks, a second one at once."""

    def stop(_signal, _frame) -> None:
        host.interrupted = True
        logger.info("Stopping ...")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _log_to_terminal(*, quiet: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
