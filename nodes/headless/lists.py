"""Outputs that are lists: a node behind one runs once for each of its values, as in ComfyUI.

Source: ComfyUI v0.33.0, execution.py, _async_map_node_over_list and merge_result_data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Several(tuple[Any, ...]):
    """The values of an output that is a list, or of one of a node that ran several times."""


class Executed(NamedTuple):
    """What came of a node: its outputs, and what each of its runs shows."""

    args: Sequence[Any]
    shown: list[dict[str, Any]]


def calls(node_class: type, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The inputs of each run of a node.

    It runs as often as its longest list has values; a shorter one goes on with its last. A node that takes lists runs
    once, with a list at every input.
    """
    if getattr(node_class, "INPUT_IS_LIST", False):
        return [{name: list(value) if isinstance(value, Several) else [value] for name, value in inputs.items()}]
    count = max((len(value) for value in inputs.values() if isinstance(value, Several)), default=1)
    return [{name: _at(value, index) for name, value in inputs.items()} for index in range(count)]


def executed(node_class: type, outputs: Sequence[Any]) -> Executed:
    """What the runs of a node make together; `outputs`: what each gave."""
    shown = [output.ui for output in outputs if output.ui is not None]
    shown = [ui if isinstance(ui, dict) else ui.as_dict() for ui in shown]
    is_list = list(getattr(node_class, "OUTPUT_IS_LIST", None) or [])
    if len(outputs) == 1 and not any(is_list):
        return Executed(outputs[0].args, shown)
    is_list += [False] * (len(outputs[0].args) - len(is_list))
    together = [
        Several(value for output in outputs for value in (output.args[slot] if flag else (output.args[slot],)))
        for slot, flag in enumerate(is_list)
    ]
    if len(outputs) == 1:
        together = [each if flag else each[0] for each, flag in zip(together, is_list)]
    return Executed(together, shown)


def _at(value: Any, index: int) -> Any:
    return value[min(index, len(value) - 1)] if isinstance(value, Several) else value
