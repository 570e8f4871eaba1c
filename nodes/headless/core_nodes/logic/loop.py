"""The two ends of a loop. What lies between them is run several times by who walks the graph, see `walking`.

Source: the nodes StartLoop and EndLoop of ComfyUI's comfy_extras, newer than v0.33.0, for which its template
video_wan_animate2 is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .... import standin as io
from ...looping import LoopTurns
from ..dynamic_inputs import Anything, Choice, Choosing, Growing, Matching, MatchingOutput


class StartLoop(io.ComfyNode):
    """Where a loop begins: how often it is gone through, and what its nodes know of each turn."""

    LOOP = "start"

    @classmethod
    def define_schema(cls) -> Any:
        counted = [
            io.Int.Input("start_iteration_index", default=0),
            io.Int.Input("max_iteration", default=4, max=0xFFFFFFFFFFFFFFFF),
            io.Int.Input("step", default=1, min=1),
        ]
        modes = [
            Choice("simple", [io.Int.Input("num_iterations", default=4, min=0)]),
            Choice("For", counted),
            Choice("List", [Matching("list", "list_item")]),
        ]
        return io.Schema(
            node_id="StartLoop",
            display_name="Start Loop",
            category="utilities/looping",
            is_input_list=True,
            inputs=[
                Choosing("mode", modes),
                io.Boolean.Input("cache_iterations", default=False, advanced=True),
                io.Int.Input("parent_iteration", optional=True, force_input=True),
                Matching("initial_iteration_value", "carried_value", optional=True),
            ],
            outputs=[
                io.Int.Output(display_name="iteration_index"),
                io.Boolean.Output(display_name="is_first"),
                io.Boolean.Output(display_name="is_last"),
                MatchingOutput(display_name="list_item"),
                MatchingOutput(display_name="current_iteration_value"),
            ],
        )

    @classmethod
    def execute(cls, mode: Mapping[str, Sequence[Any]], **_: Any) -> Any:
        """The turns; nodes in the loop get the outputs of each from who walks the graph."""
        chosen = mode["mode"][0]
        if chosen == "List":
            items = list(mode["list"])
            return io.NodeOutput(LoopTurns(tuple(range(len(items))), tuple(items)))
        if chosen == "For":
            first, end, step = (mode[name][0] for name in ("start_iteration_index", "max_iteration", "step"))
            return io.NodeOutput(LoopTurns(tuple(range(first, end, step))))
        return io.NodeOutput(LoopTurns(tuple(range(mode["num_iterations"][0]))))


class EndLoop(io.ComfyNode):
    """Where a loop ends: what comes out of it, and what the next turn is given."""

    LOOP = "end"

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="EndLoop",
            display_name="End Loop",
            category="utilities/looping",
            is_input_list=True,
            inputs=[
                Matching("output_value", "output_value", optional=True),
                Matching("next_iteration_value", "carried_value", optional=True),
                io.Boolean.Input("accumulate", default=False),
                Growing(
                    "terminations", Anything.Input("termination"), prefix="termination", most=50, least=0, optional=True
                ),
            ],
            outputs=[MatchingOutput(display_name="outputs", is_output_list=True)],
        )
