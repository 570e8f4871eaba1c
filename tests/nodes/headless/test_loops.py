"""Start Loop and End Loop: what lies between them is run in every turn, with what the turn before handed on."""

from __future__ import annotations

import pytest
from wan_director.common.errors import GraphError, WanDirectorError
from wan_director.nodes import standin as io
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph

from .conftest import node


class Note(io.ComfyNode):
    """An output node that remembers what it is given."""

    told: list = []

    @classmethod
    def define_schema(cls):
        inputs = [io.Custom("*").Input("value"), io.Int.Input("also", default=0)]
        return io.Schema(node_id="Note", inputs=inputs, outputs=[io.Int.Output()], is_output_node=True)

    @classmethod
    def execute(cls, value, also):
        cls.told.append(value)
        return io.NodeOutput(value)


CLASSES = {**CORE_NODES, "Note": Note}
CALM = {"mode": "simple", "cache_iterations": False}


def math(expression: str, **values):
    return node(
        "ComfyMathExpression", expression=expression, **{f"values.{name}": each for name, each in values.items()}
    )


def told(prompt: dict, tiny_host) -> list:
    Note.told = []
    run_graph(parse_graph(prompt, CLASSES), CLASSES)
    return Note.told


def counting(**end) -> dict:
    """A loop of four turns that doubles what it is handed, beginning with 3, and adds the number of the turn."""
    return {
        "first": node("PrimitiveInt", value=3),
        "start": node("StartLoop", **CALM, **{"mode.num_iterations": 4}, initial_iteration_value=["first", 0]),
        "twice": math("2 * a + b", a=["start", 4], b=["start", 0]),
        "end": node("EndLoop", output_value=["twice", 1], next_iteration_value=["twice", 1], **end),
        "note": node("Note", value=["end", 0]),
    }


def test_the_last_turn_comes_out(tiny_host):
    assert told(counting(accumulate=False), tiny_host) == [2 * (2 * (2 * 6 + 1) + 2) + 3]


def test_every_turn_comes_out(tiny_host):
    assert told(counting(accumulate=True), tiny_host) == [6, 13, 28, 59]


def test_the_number_of_turns_may_be_worked_out(tiny_host):
    prompt = counting(accumulate=True)
    prompt["start"]["inputs"]["mode.num_iterations"] = ["sum", 1]
    prompt["sum"] = math("a - 1", a=["first", 0])
    assert told(prompt, tiny_host) == [6, 13]


def test_a_counter_begins_and_steps_as_it_is_told(tiny_host):
    prompt = counting(accumulate=True)
    counted = {"start_iteration_index": 5, "max_iteration": 10, "step": 2}
    prompt["start"] = node("StartLoop", mode="For", cache_iterations=False,
                           **{f"mode.{name}": value for name, value in counted.items()})  # fmt: skip
    prompt["twice"] = math("10 * a", a=["start", 0])
    assert told(prompt, tiny_host) == [50, 70, 90]


def test_a_list_is_gone_through_and_an_item_taken_out_of_one(tiny_host):
    prompt = counting(accumulate=True)
    prompt |= {f"n{each}": node("PrimitiveInt", value=each) for each in (7, 8, 9)}
    prompt["list"] = node(
        "CreateList", **{f"inputs.input{place}": [f"n{each}", 0] for place, each in enumerate((7, 8, 9))}
    )
    prompt["start"] = node("StartLoop", mode="List", cache_iterations=False, **{"mode.list": ["list", 0]})
    prompt["last"] = node("GetItemFromList", list=["list", 0], index=-1)
    prompt["twice"] = math("100 * a + b", a=["start", 3], b=["last", 0])
    assert told(prompt, tiny_host) == [709, 809, 909]
    prompt["last"]["inputs"]["index"] = 3
    with pytest.raises(WanDirectorError, match="The list has 3 values, and none at 3"):
        told(prompt, tiny_host)


def test_the_first_and_the_last_turn_are_known(tiny_host):
    prompt = counting(accumulate=True)
    prompt["twice"] = math("10 * a + b", a=["start", 1], b=["start", 2])
    assert told(prompt, tiny_host) == [10, 0, 0, 1]


def test_an_output_node_at_the_terminations_runs_in_every_turn(tiny_host):
    prompt = counting(accumulate=False)
    prompt["each"] = node("Note", value=["twice", 1])
    prompt["end"]["inputs"]["terminations.termination0"] = ["each", 0]
    assert told(prompt, tiny_host) == [6, 13, 28, 59, 59]


def test_a_loop_in_a_loop(tiny_host):
    """3 turns of 2: what comes out of the inner one is handed on by the outer one."""
    prompt = {
        "outer": node("StartLoop", **CALM, **{"mode.num_iterations": 3}),
        "inner": node("StartLoop", **CALM, **{"mode.num_iterations": 2}, parent_iteration=["outer", 0]),
        "each": math("10 * a + b", a=["outer", 0], b=["inner", 0]),
        "inner_end": node("EndLoop", accumulate=True, output_value=["each", 1]),
        "end": node("EndLoop", accumulate=True, output_value=["inner_end", 0]),
        "note": node("Note", value=["end", 0]),
    }
    assert told(prompt, tiny_host) == [0, 1, 10, 11, 20, 21]


def test_what_makes_no_loop_is_refused(tiny_host):
    prompt = counting(accumulate=False)
    prompt["peek"] = node("Note", value=["twice", 1])
    with pytest.raises(GraphError, match="takes something out of a loop, which only .* can"):
        told(prompt, tiny_host)
    prompt = counting(accumulate=False)
    prompt["note"]["inputs"]["value"] = ["twice", 1]
    del prompt["end"]
    with pytest.raises(GraphError, match="begins a loop that nothing ends"):
        told(prompt, tiny_host)
    prompt = counting(accumulate=False)
    prompt["twice"] = math("a", a=["first", 0])
    del prompt["start"]
    with pytest.raises(GraphError, match="ends a loop that nothing begins"):
        told(prompt, tiny_host)
    prompt = counting(accumulate=False)
    prompt["start"]["inputs"]["mode.num_iterations"] = 0
    with pytest.raises(WanDirectorError, match="begins a loop of 0 turns"):
        told(prompt, tiny_host)
