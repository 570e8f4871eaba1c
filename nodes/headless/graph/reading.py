"""Reading a workflow file, whichever format it is in.

The canvas keeps positions, notes and widget values in order; the server wants, for each node that runs, its class and
its inputs by name. The conversion does what the canvas does when a graph is queued.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....common.errors import GraphError, MissingFileError
from .api_format import api_graph, is_api_format
from .canvas import canvas_graph
from .node import Graph, shown
from .unknown_nodes import without_unneeded

LARGEST_BYTES = 256 << 20
DEEPEST = 200
"""Lists and objects within each other; a workflow has about ten."""
_WHAT_TO_GIVE = "Give a workflow saved by ComfyUI with Save or Export (API)."


def read_graph(path: Path, node_classes: Mapping[str, type]) -> tuple[Graph, dict | None]:
    """The nodes of a workflow file by id; and the workflow in the canvas's format, if it is in the file.

    Raises:
        MissingFileError: there is no such file.
        GraphError: it is no workflow, or needs a node that is not among `node_classes`.
    """
    data = read_json(path)
    return parse_graph(data, node_classes, shown(path.name)), canvas_part(data)


def read_json(path: Path) -> Any:
    """What a workflow file holds, parsed; errors as `read_graph`."""
    if not path.is_file():
        raise MissingFileError(f"There is no workflow file {path}. Give the path of a workflow saved as .json.")
    return _parse(_content(path), shown(path.name))


def parse_graph(data: Any, node_classes: Mapping[str, type], name: str = "The workflow") -> Graph:
    """The nodes of a workflow in parsed JSON, by id; `name` is for messages, errors as `read_graph`."""
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        graph, dead_ends = canvas_graph(data, node_classes)
    else:
        graph, dead_ends = posted_graph(data, name), None
    return without_unneeded(graph, node_classes, dead_ends)


def posted_graph(data: Any, name: str) -> Graph:
    """The nodes of a file in the server's format, by id; `name` is for messages.

    Raises:
        GraphError: it is no workflow.
    """
    prompt = _prompt_part(data)
    if prompt is None:
        raise GraphError(f"{name} is JSON, but no workflow. {_WHAT_TO_GIVE}")
    return api_graph(prompt)


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= LARGEST_BYTES else b""
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise MissingFileError(
            f"{shown(path.name)} cannot be read ({reason}). Check who may read it, or give another copy."
        ) from None
    if size > LARGEST_BYTES:
        raise GraphError(
            f"{shown(path.name)} has {size / 1e6:,.0f} MB; a workflow has less than {LARGEST_BYTES >> 20} MB. "
            f"{_WHAT_TO_GIVE}"
        )
    return content


def _parse(content: bytes, name: str) -> Any:
    """JSON in UTF-8, UTF-16 or UTF-32, with or without the mark that editors put first."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise GraphError(f"{name} is no JSON file. {_WHAT_TO_GIVE}") from None
    if _is_deeper(data, DEEPEST):
        raise GraphError(f"{name} has more than {DEEPEST} lists within each other: no workflow has. {_WHAT_TO_GIVE}")
    return data


def _is_deeper(data: Any, depth: int) -> bool:
    level = [data]
    for _ in range(depth):
        level = [part for each in level for part in (each.values() if isinstance(each, dict) else each)
                 if isinstance(part, dict | list)] if isinstance(level[0], dict | list) else []  # fmt: skip
        if not level:
            return False
    return True


def _prompt_part(data: Any) -> dict | None:
    """The nodes in the server's format: the file itself, or what was posted to a server, or what the canvas made."""
    if is_api_format(data):
        return data
    parts = (data.get(name) for name in ("prompt", "output")) if isinstance(data, dict) else ()
    return next((part for part in parts if is_api_format(part)), None)


def canvas_part(data: Any) -> dict | None:
    """The workflow in the canvas's format: the file itself, or what was posted beside the nodes."""
    if "nodes" in data:
        return data if isinstance(data["nodes"], list) else None
    place: Any = data.get("workflow")
    if place is None:
        place = data
        for name in ("extra_data", "extra_pnginfo", "workflow"):
            place = place.get(name) if isinstance(place, dict) else None
    return place if isinstance(place, dict) and isinstance(place.get("nodes"), list) else None
