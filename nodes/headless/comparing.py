"""A graph with a LoRA put into it, at several strengths and seeds, and what comes out of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.errors import GraphError
from ...media.contact_sheet import SheetNames, contact_sheet
from ...media.picture_reading import read_pictures
from ...media.place import SavePlace
from ...media.video_writing import PNG_FRAMES, save_video
from ..loaders import WanModelType
from .checks import NodeClasses
from .graph import Graph, GraphNode, Link

_MODEL = WanModelType.io_type
_LORA, _EXPERTS, _ENHANCE = "WanDirectorLora", "WanDirectorExperts", "WanDirectorEnhancePrompt"
_SEEDS = ("seed", "noise_seed")
_PREFIX = "cell"
_FORMAT, _QUALITY = "mp4-h264", 90
_DEFAULTS = {"blocks": "all", "start_percent": 0.0, "end_percent": 1.0, "merge": False}


class Comparison(NamedTuple):
    """What is compared.

    Attributes:
        graph: the part of a workflow that ends in one saved video.
        saver: its last node.
        lora: the name of the LoRA.
    """

    graph: Graph
    saver: str
    lora: str

    @property
    def fps(self) -> float:
        """Frames per second of the video."""
        return float(self.graph[self.saver].inputs["fps"])

    def at(self, seed: int, strength: float) -> Graph:
        """The graph with the LoRA of a strength, from a seed, which saves its frames as they are."""
        made = {id: _seeded(node, seed) for id, node in self.graph.items()}
        saver = made[self.saver]
        inputs = {**saver.inputs, "format": PNG_FRAMES, "filename_prefix": _PREFIX}
        inputs.pop("audio", None)
        made[self.saver] = replace(saver, inputs=inputs)
        loras = [node for node in made.values() if node.class_type == _LORA and node.inputs["lora_name"] == self.lora]
        return made | {node.id: replace(node, inputs={**node.inputs, "strength": strength}) for node in loras}


def comparison(graph: Graph, classes: NodeClasses, lora: str) -> Comparison:
    """What is compared of a workflow: its first saved video, with the LoRA behind its models where it has none yet.

    Raises:
        GraphError: it saves no video, or has no model that takes a LoRA.
    """
    saver = next((node for node in graph.values() if _saves_frames(node, classes)), None)
    if saver is None:
        raise GraphError(
            "The workflow saves no video whose frames can be compared. Give one that ends in Wan Save Video or Wan "
            "Decode To Video."
        )
    needed = _above(graph, saver.id)
    if not any(node.class_type == _LORA and node.inputs.get("lora_name") == lora for node in needed.values()):
        needed = _with_lora(needed, classes, lora)
    return Comparison(needed, saver.id, lora)


def frames_in(folder: Path) -> Tensor:
    """The frames [F, H, W, 3] that a graph of `Comparison.at` has saved in a folder."""
    return torch.cat([read_pictures(file).pixels for file in sorted(folder.rglob("*.png"))])


def saved_sheet(
    rows: Sequence[Sequence[Tensor]], seeds: Sequence[int], strengths: Sequence[float], place: SavePlace, fps: float
) -> Path:
    """Saves what came of each seed (a row) and strength (a column): a video, or a picture where clips are pictures.

    Args:
        rows: of frames [F, H, W, 3] in 0..1.
    """
    columns = ("without the LoRA" if strength == 0 else f"strength {strength:g}" for strength in strengths)
    sheet = contact_sheet(rows, SheetNames(tuple(f"seed {seed}" for seed in seeds), tuple(columns)))
    is_moving = any(len(clip) > 1 for row in rows for clip in row)
    format = _FORMAT if is_moving else PNG_FRAMES
    return save_video(sheet, place, format=format, fps=fps, quality=_QUALITY, metadata={})[0]


def _saves_frames(node: GraphNode, classes: NodeClasses) -> bool:
    node_class = classes[node.class_type]
    if not node_class.OUTPUT_NODE or "fps" not in node.inputs or isinstance(node.inputs["fps"], Link):
        return False
    spec = node_class.INPUT_TYPES()["required"].get("format")
    return spec is not None and PNG_FRAMES in spec[1].get("options", ())


def _above(graph: Graph, id: str) -> Graph:
    found: dict[str, GraphNode] = {}
    waiting = [id]
    while waiting:
        node = graph[waiting.pop()]
        if node.id not in found:
            found[node.id] = node
            waiting += [link.node for link in node.links]
    return found


def _with_lora(graph: Graph, classes: NodeClasses, lora: str) -> Graph:
    """A graph with a LoRA behind each model, or pair of experts, before anything else is put onto it."""
    made, added = dict(graph), {}
    for node in graph.values():
        if node.class_type == _EXPERTS:
            continue
        inputs = dict(node.inputs)
        for name, wire in node.inputs.items():
            if isinstance(wire, Link) and _is_model(graph[wire.node], wire.slot, classes):
                id = f"{wire.node}-{_LORA}"
                added[id] = GraphNode(
                    id, _LORA, "Wan LoRA", {"model": wire, "lora_name": lora, "strength": 1.0, **_DEFAULTS}
                )
                inputs[name] = Link(id, 0)
        made[node.id] = replace(node, inputs=inputs)
    if not added:
        raise GraphError("The workflow has no model that takes a LoRA. Give one with Load Wan Model.")
    return made | added


def _is_model(node: GraphNode, slot: int, classes: NodeClasses) -> bool:
    """Whether an output is a model as its file has it, or two of them as a pair."""
    types: Sequence[Any] = classes[node.class_type].RETURN_TYPES
    if slot >= len(types) or types[slot] != _MODEL:
        return False
    return node.class_type == _EXPERTS or _MODEL not in _types_taken(classes[node.class_type].INPUT_TYPES())


def _types_taken(types: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    for group in ("required", "optional"):
        yield from (spec[0] for spec in types.get(group, {}).values())


def _seeded(node: GraphNode, seed: int) -> GraphNode:
    if node.class_type == _ENHANCE:
        return node
    own = {name: seed for name in _SEEDS if isinstance(node.inputs.get(name), int)}
    return replace(node, inputs={**node.inputs, **own}) if own else node
