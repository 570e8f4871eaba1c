"""File names that a user writes down: placeholders filled in, and nothing left that a file system cannot hold."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.records import record

LONGEST_VALUE = 80
"""Characters of a node's value in a file name: a prompt would be longer than any file system's names."""

_FORBIDDEN = re.compile(r'[<>:"|?*\x01-\x1f\x7f]')
_DATE_PARTS = re.compile("yyy?y?|MM?|dd?|hh?|mm?|ss?")
_PORTS = [f"{port}{number}" for port in ("com", "lpt") for number in "123456789\xb9\xb2\xb3"]
_DEVICES = frozenset(["con", "prn", "aux", "nul", "conin$", "conout$", *_PORTS])


@record
class NodeValues:
    """The widgets of the graph that runs, by the names that a canvas shows.

    Attributes:
        prompt: the graph in the server's format: id -> class_type, inputs and _meta.title.
        workflow: the same in the canvas's format, if there is one; it knows the names for search and replace.
    """

    prompt: Mapping[str, Any] | None = None
    workflow: Mapping[str, Any] | None = None

    def find(self, node: str, widget: str) -> str | None:
        """The value of a widget as text; None where there is no such node or widget, or a wire comes in.

        Names are looked up in the canvas's order: "Node name for S&R", which is the class until a user changes it,
        then titles. The first node that has the widget counts.
        """
        for id in (*self._ids_by_property(node), *self._ids_by("class_type", node), *self._ids_by_title(node)):
            value = self._inputs(id).get(widget)
            if value is not None and not isinstance(value, list | dict):
                return _as_text(value)
        return None

    def _ids_by_property(self, name: str) -> Iterator[str]:
        for node in _canvas_nodes(self.workflow):
            properties = node.get("properties")
            if isinstance(properties, Mapping) and properties.get("Node name for S&R") == name:
                yield from self._prompt_ids(node)

    def _prompt_ids(self, canvas_node: Mapping[str, Any]) -> Iterator[str]:
        """Inside of subgraphs the server's ids are the way to the node: `12:5`."""
        id, kind = str(canvas_node.get("id")), canvas_node.get("type")
        for each, node in _nodes(self.prompt):
            if each.rpartition(":")[2] == id and node.get("class_type") == kind:
                yield each

    def _ids_by(self, key: str, name: str) -> Iterator[str]:
        yield from (id for id, node in _nodes(self.prompt) if node.get(key) == name)

    def _ids_by_title(self, name: str) -> Iterator[str]:
        for id, node in _nodes(self.prompt):
            about = node.get("_meta")
            if isinstance(about, Mapping) and about.get("title") == name:
                yield id
        for node in _canvas_nodes(self.workflow):
            if node.get("title") == name:
                yield from self._prompt_ids(node)

    def _inputs(self, id: str) -> Mapping[str, Any]:
        inputs = (self.prompt or {})[id].get("inputs")
        return inputs if isinstance(inputs, Mapping) else {}


NO_VALUES = NodeValues()


def file_prefix(prefix: str, width: int, height: int, values: NodeValues = NO_VALUES) -> str:
    """A prefix with its placeholders filled in, in a form that every file system holds; `/` separates folders.

    Raises:
        InvalidInputError: it is no text that a file system knows.
    """
    check_text(prefix)
    filled = _filled_in(prefix, width, height, values)
    portable = _portable(filled)
    if portable != filled.replace("\\", "/"):
        logger.info("The file name '%s' becomes '%s', which every system can hold.", filled, portable)
    return portable


def check_text(prefix: str) -> None:
    """Refuses a prefix that cannot be a file name anywhere.

    Raises:
        InvalidInputError: it holds a NUL character or half a character.
    """
    position = next((i for i, c in enumerate(prefix) if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    if position is not None:
        raise InvalidInputError(
            f"filename_prefix holds the character U+{ord(prefix[position]):04X} at place {position + 1}, which no file "
            "name can have. Write the name anew."
        )


def _filled_in(prefix: str, width: int, height: int, values: NodeValues) -> str:
    """Fills what ComfyUI's save nodes and its canvas know; what neither knows stays as it is."""
    now = time.localtime()
    known = {"width": str(width), "height": str(height), "year": str(now.tm_year)}
    parts = {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour, "minute": now.tm_min, "second": now.tm_sec}
    known |= {name: f"{value:02}" for name, value in parts.items()}

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name in known:
            return known[name]
        if name.startswith("date:"):
            return _date(name.removeprefix("date:"), now)
        node, dot, widget = name.rpartition(".")
        value = values.find(node, widget) if dot else None
        return match[0] if value is None else _as_name(value, name)

    return re.sub(r"%([^%]+)%", fill, prefix)


def _date(pattern: str, now: time.struct_time) -> str:
    """The date as the canvas writes it: yyyy, yy, M, d, h (of 24), m, s; a doubled letter has two digits."""
    numbers = {"M": now.tm_mon, "d": now.tm_mday, "h": now.tm_hour, "m": now.tm_min, "s": now.tm_sec}

    def fill(match: re.Match[str]) -> str:
        part = match[0]
        if part[0] == "y":
            return {"yyyy": str(now.tm_year), "yy": str(now.tm_year)[2:]}.get(part, part)
        return str(numbers[part[0]]).zfill(len(part))

    return _DATE_PARTS.sub(fill, pattern)


def _as_name(value: str, placeholder: str) -> str:
    """A value as part of one name: it neither leads into a folder nor makes the name too long."""
    if len(value) > LONGEST_VALUE:
        logger.info("Of %%%s%% the first %d characters are in the file name.", placeholder, LONGEST_VALUE)
    return re.sub(r'[/\\<>:"|?*\x00-\x1f\x7f\ud800-\udfff]', "_", value[:LONGEST_VALUE])


def _as_text(value: object) -> str:
    """A widget's value as the canvas writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _portable(prefix: str) -> str:
    """Folders separated by `/`, without what Windows refuses in a name; composed letters, as most systems keep them."""
    prefix = unicodedata.normalize("NFC", prefix).replace("\\", "/")
    if re.match("[A-Za-z]:/", prefix):
        return prefix  # a drive: the way leads out of the output folder, and is refused for that
    folders, slash, name = prefix.rpartition("/")
    return "/".join(map(_portable_folder, folders.split("/"))) + slash + _FORBIDDEN.sub("_", _no_device(name))


def _portable_folder(name: str) -> str:
    """Windows drops dots and spaces at the end of a folder's name."""
    if name in ("", ".", ".."):
        return name
    name = _FORBIDDEN.sub("_", _no_device(name))
    kept = name.rstrip(". ")
    return kept if kept == name else f"{kept}_"


def _no_device(name: str) -> str:
    """Windows takes CON, NUL, COM1, ... for devices, whatever ending follows."""
    base, dot, ending = name.partition(".")
    return f"{base}_{dot}{ending}" if base.rstrip(" ").lower() in _DEVICES else name


def _nodes(prompt: Mapping[str, Any] | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((str(id), node) for id, node in (prompt or {}).items() if isinstance(node, Mapping))


def _canvas_nodes(workflow: Any) -> Iterator[Mapping[str, Any]]:
    """The nodes of a canvas file, then those inside of its subgraphs."""
    if not isinstance(workflow, Mapping):
        return
    definitions = workflow.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    for graph in (workflow, *(subgraphs if isinstance(subgraphs, list) else ())):
        nodes = graph.get("nodes") if isinstance(graph, Mapping) else None
        yield from (node for node in (nodes if isinstance(nodes, list) else ()) if isinstance(node, Mapping))
