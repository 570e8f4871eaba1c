"""`run --prompts FILE`: one workflow for each line of a file, with the line's prompt, size, pictures and values."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ....common.errors import GraphError, InvalidInputError, MissingFileError, WanDirectorError
from ....common.log import logger
from ....common.printable import printable_name
from ...batches.lines import PromptLine, read_lines
from ...planning.rehearsal import rehearse
from ..checks import NodeClasses, check_graph
from ..graph import Graph, GraphNode, Link, read_graph, set_value
from ..runner import run_graph
from ..widgets import inputs_of

MAX_FILE_BYTES = 4_000_000
_ENCODERS = {"WanDirectorTextEncode": "positive", "CLIPTextEncode": "text"}
"""Nodes with a prompt, and its input, in the order in which they are looked for."""
_LENGTHS = ("frames", "length")


def lines_of(path: Path) -> tuple[PromptLine, ...]:
    """The lines of a file of prompts in UTF-8.

    Raises:
        MissingFileError, InvalidInputError: it is not there, cannot be read, or a line cannot.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInputError(f"{path} is no file of prompts: it is larger than {MAX_FILE_BYTES:,} bytes.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingFileError(f"There is no file {path} of prompts. Check the name after --prompts.") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidInputError(f"{path} cannot be read ({reason}). Check the file after --prompts.") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path} is no text in UTF-8. Save it as UTF-8.") from None
    return read_lines(text)


def assignments(line: PromptLine, graph: Graph, node_classes: Mapping[str, type]) -> Iterator[str]:
    """What a line sets in a workflow, as `set_value` takes it; its own values come last, so that they count.

    Raises:
        GraphError: the workflow has no place, or several, for what the line says.
    """
    try:
        yield f"{_prompt_place(graph, node_classes, line.values)}={line.prompt}"
        if line.size is not None:
            yield from _size(line, graph)
        yield from _pictures(line, graph)
        yield from line.values
    except GraphError as error:
        raise at_line(line, error) from None


def at_line(line: PromptLine, error: WanDirectorError) -> WanDirectorError:
    """A refusal with the number of its line before it."""
    return type(error)(f"Line {line.number} of the prompts: ", *error.parts)


def _prompt_place(graph: Graph, node_classes: Mapping[str, type], values: Sequence[str]) -> str:
    """Where the prompt of a line goes: the node with a prompt that counts, of several the one without a value."""
    for kind, name in _ENCODERS.items():
        asked = _above_positive(graph) if kind == "CLIPTextEncode" else _with_used_positive(graph)
        found = [node for node in graph.values() if node.class_type == kind and node.id in asked]
        if len(found) > 1:
            found = [node for node in found if not _is_set(node, name, values)]
        if len(found) > 1:
            names = ", ".join(printable_name(node.label) for node in found[:5])
            raise GraphError(
                f"the workflow has {len(found)} nodes with a prompt ({names}), and which one is meant is not known. "
                f"Set all but one in the line, as {printable_name(found[0].title)}.{name}=TEXT | PROMPT, or connect "
                "one text to them."
            )
        if found:
            return _written(graph, node_classes, found[0], name)
    raise GraphError(
        "the workflow has no node whose prompt a line may set. Use Wan Text Encode or CLIP Text Encode, wired to a "
        "positive input; other texts can be set by NODE.INPUT=VALUE with `--set`."
    )


def _with_used_positive(graph: Graph) -> set[str]:
    """The nodes whose first output goes somewhere: Wan Text Encode may be there for its negative alone."""
    links = (value for node in graph.values() for value in node.inputs.values() if isinstance(value, Link))
    return {link.node for link in links if link.slot == 0}


def _is_set(node: GraphNode, name: str, values: Sequence[str]) -> bool:
    return any(
        value.partition("=")[0].strip() in {f"{called}.{name}" for called in (node.id, node.title, node.class_type)}
        for value in values
    )


def _written(graph: Graph, node_classes: Mapping[str, type], node: GraphNode, name: str) -> str:
    """Where the text that comes in at an input is written: there, or in the first text of the node it comes from."""
    value = node.inputs.get(name)
    while isinstance(value, Link) and value.node in graph:
        source = graph[value.node]
        specs = inputs_of(node_classes[source.class_type].INPUT_TYPES(), source.inputs)
        texts = [spec.name for spec in specs if spec.widget == "STRING"]
        if not texts:
            break
        node, name = source, texts[0]
        value = node.inputs.get(name)
    return f"{node.id}.{name}"


def _above_positive(graph: Graph) -> set[str]:
    """The nodes that what is wired to an input called positive comes from."""
    waiting = [value for node in graph.values() if isinstance(value := node.inputs.get("positive"), Link)]
    found: set[str] = set()
    while waiting:
        id = waiting.pop().node
        if id in graph and id not in found:
            found.add(id)
            inputs = graph[id].inputs
            named = inputs.get("positive", inputs.get("conditioning"))
            waiting += [named] if isinstance(named, Link) else []
    return found


def _size(line: PromptLine, graph: Graph) -> Iterator[str]:
    sized = [node for node in graph.values() if {"width", "height"} <= node.inputs.keys()]
    sized = [node for node in sized if any(name in node.inputs for name in _LENGTHS)]
    if len(sized) != 1:
        raise GraphError(
            f"the workflow has {len(sized)} nodes with a width, a height and a length, and a size is for one. Write "
            "NODE.width=832 | NODE.height=480 instead."
        )
    node = sized[0]
    assert line.size is not None
    yield f"{node.id}.width={line.size[0]}"
    yield f"{node.id}.height={line.size[1]}"
    if line.frames is not None:
        yield f"{node.id}.{next(name for name in _LENGTHS if name in node.inputs)}={line.frames}"


def _pictures(line: PromptLine, graph: Graph) -> Iterator[str]:
    loaders = [node for node in graph.values() if node.class_type == "LoadImage"]
    if len(line.pictures) > len(loaders):
        raise GraphError(
            f"it names {_counted(len(line.pictures), 'picture')}, and the workflow has "
            f"{_counted(len(loaders), 'Load Image node')}. Name as many as it has, or fewer."
        )
    for node, picture in zip(loaders, line.pictures):
        yield f"{node.id}.image={picture}"


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


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
