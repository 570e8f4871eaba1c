"""Lists of values of any type, made and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .....common.errors import InvalidInputError
from .... import standin as io
from ..dynamic_inputs import Anything, Growing, Matching, MatchingOutput


class CreateList(io.ComfyNode):
    """One list of several values; those of a list that comes in follow one another in it."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CreateList",
            display_name="Create List",
            category="utilities",
            is_input_list=True,
            inputs=[Growing("inputs", Matching("input", "type"), prefix="input", most=10)],
            outputs=[MatchingOutput(display_name="list", is_output_list=True)],
        )

    @classmethod
    def execute(cls, inputs: Mapping[str, Sequence[Any]]) -> Any:
        return io.NodeOutput([value for values in inputs.values() for value in values])


class GetItemFromList(io.ComfyNode):
    """One value of a list, by its place from 0; places below 0 count from the end."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="GetItemFromList",
            display_name="Get Item From List",
            category="utilities",
            is_input_list=True,
            inputs=[Anything.Input("list"), io.Int.Input("index", default=0)],
            outputs=[Anything.Output()],
        )

    @classmethod
    def execute(cls, list: Sequence[Any], index: Sequence[int]) -> Any:
        if not -len(list) <= index[0] < len(list):
            raise InvalidInputError(f"The list has {len(list)} values, and none at {index[0]}. Set index lower.")
        return io.NodeOutput(list[index[0]])
