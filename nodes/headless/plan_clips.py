"""How many pictures of which size a wire of IMAGE will carry, as far as the graph and its files tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...common.errors import WanDirectorError
from ...common.shapes import VideoShape
from ...media.picture_reading import picture_shape
from ...media.video_reading import probe_video
from ..hosts.host import host
from ..load_video import planned_size
from .graph import Graph, GraphNode, Link


def clip_shape(graph: Graph, wire: Any) -> VideoShape | None:
    """The shape behind a wire of pictures; None where it is not known before the graph runs."""
    node = graph.get(wire.node) if isinstance(wire, Link) else None
    rule = _RULES.get(node.class_type) if node else None
    try:
        return rule(graph, node) if rule else None
    except (WanDirectorError, RecursionError):
        return None


def _picture(_: Graph, node: GraphNode) -> VideoShape | None:
    name = node.inputs.get("image")
    return VideoShape(*picture_shape(host().input_file(name))) if isinstance(name, str) else None


def _components(graph: Graph, node: GraphNode) -> VideoShape | None:
    wire = node.inputs.get("video")
    source = graph.get(wire.node) if isinstance(wire, Link) else None
    name = source.inputs.get("file") if source and source.class_type == "LoadVideo" else None
    if not isinstance(name, str):
        return None
    video = probe_video(host().input_file(name))
    return VideoShape(len(video.times), video.height, video.width)


def _taken(graph: Graph, node: GraphNode) -> VideoShape | None:
    shape, first = clip_shape(graph, node.inputs.get("image")), node.inputs.get("batch_index", 0)
    length = node.inputs.get("length", 1)
    if shape is None or not isinstance(first, int) or not isinstance(length, int):
        return None
    first = max(0, min(first + shape.frames if first < 0 else first, shape.frames - 1))
    return shape._replace(frames=min(length, shape.frames - first))


def _scaled(graph: Graph, node: GraphNode) -> VideoShape | None:
    shape, (width, height) = clip_shape(graph, node.inputs.get("image")), _sides(node.inputs)
    return shape._replace(width=width, height=height) if shape and width and height else None


def _repeated(graph: Graph, node: GraphNode) -> VideoShape | None:
    shape, amount = clip_shape(graph, node.inputs.get("image")), node.inputs.get("amount", 1)
    return shape._replace(frames=shape.frames * amount) if shape and isinstance(amount, int) else None


def _empty(_: Graph, node: GraphNode) -> VideoShape | None:
    (width, height), frames = _sides(node.inputs), node.inputs.get("batch_size", 1)
    return VideoShape(frames, height, width) if width and height and isinstance(frames, int) else None


def _sides(inputs: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height; 0 for one that is not written down."""
    width, height = (inputs.get(name) for name in ("width", "height"))
    return (width if isinstance(width, int) else 0), (height if isinstance(height, int) else 0)


_RULES: dict[str, Callable[[Graph, GraphNode], VideoShape | None]] = {
    "LoadImage": _picture,
    "WanDirectorLoadVideo": lambda _, node: planned_size(node.inputs),
    "GetVideoComponents": _components,
    "ImageFromBatch": _taken,
    "ImageScale": _scaled,
    "RepeatImageBatch": _repeated,
    "EmptyImage": _empty,
}
