"""Outputs that are lists, by ComfyUI's rules: a node behind one runs for each value, one that takes lists runs once."""

from __future__ import annotations

from wan_director.nodes import standin as io
from wan_director.nodes.headless.lists import Several
from wan_director.nodes.headless.walking import Walk, execute

from .conftest import node


def make(name: str, inputs: list, outputs: list[bool], run, **schema):
    """A node whose outputs are lists where it says so."""

    class Node(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            given = [io.Int.Output(is_output_list=flag) for flag in outputs]
            return io.Schema(node_id=name, inputs=inputs, outputs=given, **schema)

        @classmethod
        def execute(cls, **values):
            return run(**values)

    return Node


def ran(node_class: type, **inputs):
    from wan_director.nodes.headless.graph import GraphNode

    return execute(GraphNode("1", "n", "n", {}), node_class, inputs, {})


def test_a_node_runs_for_each_value_and_a_shorter_list_goes_on_with_its_last():
    add = make("add", [io.Int.Input("a"), io.Int.Input("b"), io.Int.Input("c")], [False],
               lambda a, b, c: io.NodeOutput(a + b + c, ui={"text": [str(a)]}))  # fmt: skip
    made = ran(add, a=Several((1, 2, 3)), b=Several((10, 20)), c=100)
    assert list(made.args) == [(111, 122, 123)] and isinstance(made.args[0], Several)
    assert made.shown == [{"text": ["1"]}, {"text": ["2"]}, {"text": ["3"]}]


def test_lists_of_several_runs_come_one_after_the_other():
    several = make("s", [io.Int.Input("n")], [True, False], lambda n: io.NodeOutput(list(range(n)), n))
    assert [tuple(each) for each in ran(several, n=Several((2, 3))).args] == [(0, 1, 0, 1, 2), (2, 3)]
    alone = ran(several, n=2).args
    assert isinstance(alone[0], Several) and tuple(alone[0]) == (0, 1) and alone[1] == 2


def test_a_node_that_takes_lists_gets_one_at_every_input_and_runs_once():
    takes = make("t", [io.Int.Input("n"), io.Int.Input("m")], [False], lambda n, m: io.NodeOutput((n, m)),
                 is_input_list=True)  # fmt: skip
    assert ran(takes, n=Several((1, 2)), m=5).args == (([1, 2], [5]),)


def test_a_plain_node_is_run_as_ever():
    plain = make("p", [io.Int.Input("n")], [False], lambda n: io.NodeOutput(n))
    output = (1, 2)
    assert ran(plain, n=output).args == (output,)  # a tuple of a node's own is one value


def test_a_lazy_input_behind_a_list_is_asked_for_if_one_run_wants_it():
    from wan_director.nodes.headless.graph import parse_graph

    class Switch(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            inputs = [io.Int.Input("on"), io.Int.Input("value", lazy=True, optional=True)]
            return io.Schema(node_id="Switch", inputs=inputs, outputs=[io.Int.Output()], is_output_node=True)

        @classmethod
        def check_lazy_status(cls, on, value=None):
            return ["value"] if on and value is None else []

        @classmethod
        def execute(cls, on, value=None):
            return io.NodeOutput(value if on else -1)

    classes = {
        "List": make("List", [], [True], lambda: io.NodeOutput([0, 1, 0])),
        "Value": make("Value", [], [False], lambda: io.NodeOutput(7)),
        "Switch": Switch,
    }
    prompt = {"1": node("List"), "2": node("Value"), "3": node("Switch", on=["1", 0], value=["2", 0])}
    made = {}

    def run(each, inputs):
        made[each.id] = execute(each, classes[each.class_type], inputs, {}).args
        return made[each.id]

    Walk(parse_graph(prompt, classes), classes, {"3"}, run).go()
    assert tuple(made["3"][0]) == (-1, 7, -1)
