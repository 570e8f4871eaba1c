"""Which model files a workflow loads, and where each is to be had: also one whose nodes do not run from here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from ...common.errors import InvalidInputError
from ...model_loading.publishing.known_files import FileKind, KnownFile, known_file
from ..files.model_names import model_name
from ..hosts.command_line import MODEL_ENDINGS
from ..hosts.host import BUNDLED_MODELS
from .graph import GraphNode
from .graph.canvas import running_nodes
from .graph.canvas_file import CanvasNode
from .graph.node import shown
from .graph.reading import canvas_part, posted_graph, read_json
from .model_paths import todays_folder

_ADDRESS = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/resolve/main/([^?#]+)(?:[?#].*)?")
_FOLDER = re.compile(r"[a-z0-9_]+")


class WantedModel(NamedTuple):
    """A model file that a workflow names.

    Attributes:
        name: as the node says it, with forward slashes; it may lie in a folder inside the model folder.
        node: what messages call the node.
        file: where it is to be had; None where neither the workflow nor this pack knows.
    """

    name: str
    node: str
    file: KnownFile | None


def wanted_models(path: Path, node_classes: Mapping[str, type]) -> list[WantedModel]:
    """The files that a workflow's active nodes name, each once, without the bundled ones.

    A file is looked up among those that the workflow itself offers for download (`properties.models`), then among the
    published ones.

    Raises:
        MissingFileError, GraphError: it is no workflow, see `read_graph`.
    """
    data = read_json(path)
    canvas = canvas_part(data) if isinstance(data, dict) else None
    offered = {file.name: file for file in _offered(canvas)} if canvas else {}
    if canvas is not None and data is canvas:
        named = [
            (node.label, name) for saved, node in running_nodes(data, node_classes) for name in _names(saved, node)
        ]
    else:
        graph = posted_graph(data, shown(path.name))
        named = [(node.label, name) for node in graph.values() for name in _model_names(node.inputs.values())]
    found: dict[str, WantedModel] = {}
    for label, name in named:
        base = name.rsplit("/", 1)[-1]
        file = offered.get(base) or known_file(base)
        if name not in found and not _is_bundled(name):
            found[name] = WantedModel(name, label, file)
    return list(found.values())


def _names(saved: CanvasNode, node: GraphNode) -> Iterator[str]:
    """The files that a node names: by its inputs; of a node not known here also anywhere among its saved values."""
    yield from _model_names(node.inputs.values())
    if not node.inputs or set(node.inputs) <= {slot.name for slot in saved.inputs if slot.link is not None}:
        values = saved.values
        yield from _model_names(values.values() if isinstance(values, dict) else values)


def _model_names(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str) and Path(value).suffix.lower() in MODEL_ENDINGS and "\n" not in value:
            try:
                yield model_name(value)
            except InvalidInputError:  # refused in words when the workflow runs
                continue


def _offered(data: Mapping[str, Any]) -> Iterator[KnownFile]:
    """What a workflow in the canvas's format offers for download, at any depth of its subgraphs."""
    definitions = data.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    scopes = [data, *(each for each in subgraphs if isinstance(each, dict))] if isinstance(subgraphs, list) else [data]
    for scope in scopes:
        nodes = scope.get("nodes")
        for node in nodes if isinstance(nodes, list) else ():
            properties = node.get("properties") if isinstance(node, dict) else None
            yield from _declared(properties.get("models") if isinstance(properties, dict) else None)
    yield from _declared(data.get("models"))


def _declared(models: Any) -> Iterator[KnownFile]:
    for each in models if isinstance(models, list) else ():
        file = _as_file(each) if isinstance(each, dict) else None
        if file is not None:
            yield file


def _as_file(entry: Mapping[str, Any]) -> KnownFile | None:
    """An entry of `properties.models`; None where its address, name or folder is none that a file is fetched by."""
    name, folder, url = (entry.get(key) for key in ("name", "directory", "url"))
    if not (isinstance(name, str) and isinstance(folder, str) and isinstance(url, str)):
        return None
    address = _ADDRESS.fullmatch(url)
    is_plain = name == Path(name.replace("\\", "/")).name and name.lower().endswith(".safetensors")
    if address is None or not is_plain or not _FOLDER.fullmatch(folder):
        return None
    repo, path = address[1], unquote(address[2])
    known = known_file(name)
    if known is not None and (known.repo.lower(), known.path_in_repo) == (repo.lower(), path):
        return known
    folder = todays_folder(folder)
    return KnownFile(name, FileKind(folder, folder), f"a file for {folder}", repo, path, 0)


def _is_bundled(name: str) -> bool:
    return any((folder / name).is_file() for folder in BUNDLED_MODELS.iterdir() if folder.is_dir())
