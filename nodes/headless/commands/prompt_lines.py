"""`run --prompts FILE`: one workflow for each line of a file, with the line's prompt, size, pictures and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ....common.errors import GraphError, InvalidInputError, MissingFileError, WanDirectorError
from ....common.printable import printable_name
from ...batches.lines import PromptLine, read_lines
from ..graph import Graph, GraphNode, Link
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
        yield f"{_prompt_place(graph, node_classes)}={line.prompt}"
        if line.size is not None:
            yield from _size(line, graph)
        yield from _pictures(line, graph)
        yield from line.values
    except GraphError as error:
        raise at_line(line, error) from None


def at_line(line: PromptLine, error: WanDirectorError) -> WanDirectorError:
    """A refusal with the number of its line before it."""
    return type(error)(f"Line {line.number} of the prompts: ", *error.parts)


def _prompt_place(graph: Graph, node_classes: Mapping[str, type]) -> str:
    for kind, name in _ENCODERS.items():
        found = [node for node in graph.values() if node.class_type == kind]
        if kind == "CLIPTextEncode":
            asked = _above_positive(graph)
            found = [node for node in found if node.id in asked]
        if len(found) > 1:
            names = ", ".join(printable_name(node.label) for node in found[:5])
            raise GraphError(
                f"the workflow has {len(found)} nodes with a prompt ({names}), and which one is meant is not known. "
                "Connect one text to them."
            )
        if found:
            return _written(graph, node_classes, found[0], name)
    raise GraphError("the workflow has no node that encodes a prompt. Use Wan Text Encode or CLIP Text Encode.")


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
            f"it names {len(line.pictures)} pictures, and the workflow has {len(loaders)} Load Image nodes. Name as "
            "many as it has, or fewer."
        )
    for node, picture in zip(loaders, line.pictures):
        yield f"{node.id}.image={picture}"
