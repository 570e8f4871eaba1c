"""The texts that were written while this process lives: the same question is not asked again, and files tell them.

A host does not run a node again whose inputs are the same, and hands the node that saves nothing of its text; so it is
kept here by what in the graph decides it.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

NODE = "WanDirectorEnhancePrompt"
METADATA_KEY = "wan_director_prompts"
"""Under which a saved file tells them: id of the node -> text."""
_MOST = 256


class Remembered:
    """The last texts, by anything that decides them."""

    def __init__(self, most: int = _MOST) -> None:
        self._texts: OrderedDict[Hashable, str] = OrderedDict()
        self._most = most

    def once(self, key: Hashable, write: Callable[[], str]) -> str:
        """The text of this key, or else what `write` gives."""
        found = self.get(key)
        return self.keep(key, write()) if found is None else found

    def get(self, key: Hashable) -> str | None:
        """The text of this key, if it is remembered."""
        found = self._texts.get(key)
        if found is not None:
            self._texts.move_to_end(key)
        return found

    def keep(self, key: Hashable, text: str) -> str:
        """Remembers a text, and gives it."""
        self._texts[key] = text
        self._texts.move_to_end(key)
        while len(self._texts) > self._most:
            self._texts.popitem(last=False)
        return text


ANSWERS, IN_GRAPHS = Remembered(), Remembered()
"""By the question, and by the part of the graph that decides it."""


def graph_key(prompt: Any, id: str | None) -> str | None:
    """What decides the value of a node in a graph of the server's form: the node and all above it; None if unknown."""
    if not isinstance(prompt, Mapping) or id not in prompt:
        return None
    found: dict[str, Any] = {}
    waiting = [str(id)]
    while waiting:
        name = waiting.pop()
        node = prompt.get(name)
        if name in found or not isinstance(node, Mapping):
            continue
        inputs = node.get("inputs", {})
        found[name] = [node.get("class_type"), inputs]
        waiting += [str(value[0]) for value in inputs.values() if isinstance(value, list) and len(value) == 2]
    text = json.dumps([str(id), found], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def texts_in(prompt: Any) -> dict[str, str]:
    """The texts that were written for the nodes of a graph, by their ids."""
    if not isinstance(prompt, Mapping):
        return {}
    nodes = [id for id, node in prompt.items() if isinstance(node, Mapping) and node.get("class_type") == NODE]
    found = {id: IN_GRAPHS.get(graph_key(prompt, id)) for id in nodes}
    return {id: text for id, text in found.items() if text is not None}
