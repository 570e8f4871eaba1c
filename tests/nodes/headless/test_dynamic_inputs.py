# ruff: noqa: N802  (as ComfyUI names it)
"""Lazy inputs, inputs that grow, and inputs that a choice brings: as ComfyUI's V3 nodes declare and take them."""

from __future__ import annotations

import pytest
from wan_director.common.errors import GraphError, MissingFileError
from wan_director.nodes.api import io
from wan_director.nodes.headless.checks import check_graph
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.headless.widgets import nested_inputs, places_in_list, widget_names

made: list[str] = []


class Number(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.String.Input("name"), io.Int.Input("after", optional=True, force_input=True)]
        return io.Schema(node_id="Number", inputs=inputs, outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, name, after=None):
        made.append(name)
        return io.NodeOutput(name)


class Switch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [
            io.Boolean.Input("switch"),
            io.Int.Input("on_false", force_input=True, lazy=True),
            io.Int.Input("on_true", force_input=True, lazy=True),
        ]
        return io.Schema(node_id="Switch", inputs=inputs, outputs=[io.Int.Output()])

    @classmethod
    def check_lazy_status(cls, switch, on_false=None, on_true=None):
        wanted = "on_true" if switch else "on_false"
        return [wanted] if (on_true if switch else on_false) is None else None

    @classmethod
    def execute(cls, switch, on_false, on_true):
        return io.NodeOutput(on_true if switch else on_false)


class Show(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Show", inputs=[io.Int.Input("value", force_input=True)], is_output_node=True)

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(ui={"value": value})


class Dynamic(Show):
    """Inputs as a server's node information describes them."""

    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        names = {"template": {"input": {"required": {"value": ["FLOAT,INT", {}]}}, "names": ["a", "b", "c"], "min": 1}}
        prefix = {"template": {"input": {"required": {"image": ["INT", {}]}}, "prefix": "image", "min": 0, "max": 3}}
        inside = {"width": ["INT", {"default": 8}], "mask_1": ["INT", {"forceInput": True}]}
        options = [{"key": "none", "inputs": {}}, {"key": "size", "inputs": {"required": inside}}]
        return {
            "required": {
                "values": ["COMFY_AUTOGROW_V3", names],
                "mode": ["COMFY_DYNAMICCOMBO_V3", {"options": options}],
                "seed": ["INT", {"default": 0}],
            },
            "optional": {"images": ["COMFY_AUTOGROW_V3", prefix]},
        }

    @classmethod
    def execute(cls, **inputs):
        return io.NodeOutput(ui=inputs)


CLASSES = {"Number": Number, "Switch": Switch, "Show": Show, "Dynamic": Dynamic}


def number(name: str, **inputs) -> dict:
    return {"class_type": "Number", "inputs": {"name": name, **inputs}}


def run(prompt: dict) -> list:
    made.clear()
    return run_graph(parse_graph(prompt, CLASSES), CLASSES)


@pytest.mark.parametrize("switch", [True, False])
def test_only_the_branch_that_a_switch_asks_for_runs(switch):
    prompt = {
        "0": number("both"), "1": number("false", after=["0", 0]), "2": number("true", after=["0", 0]),
        "3": {"class_type": "Switch", "inputs": {"switch": switch, "on_false": ["1", 0], "on_true": ["2", 0]}},
        "4": {"class_type": "Show", "inputs": {"value": ["3", 0]}},
    }  # fmt: skip
    assert run(prompt) == [{"value": str(switch).lower()}]
    assert made == ["both", str(switch).lower()]


class Refusing(Number):
    """Refuses what it is called, as a loader does a file that is missing."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Refusing", inputs=[io.String.Input("name")], outputs=[io.Int.Output()])

    @classmethod
    def validate_inputs(cls, name=None):
        raise MissingFileError(f"There is no {name}.")


@pytest.mark.parametrize("position", ["literal", "worked out", "of the run"])
@pytest.mark.parametrize("switch", [True, False])
def test_a_node_behind_a_switch_is_asked_where_the_run_may_come_to_it(switch, position):
    """The position is written down, worked out by nodes of values, or comes of the run itself."""
    prompt = {
        "1": {"class_type": "Refusing", "inputs": {"name": "file"}}, "2": number("true"),
        "3": {"class_type": "Switch", "inputs": {"switch": switch, "on_false": ["1", 0], "on_true": ["2", 0]}},
        "4": {"class_type": "Show", "inputs": {"value": ["3", 0]}},
    }  # fmt: skip
    classes = {**CLASSES, "Refusing": Refusing, "Truth": Truth, "Measured": Measured}
    if position != "literal":
        given = {"not": not switch, "after": ["6", 0]} if position == "of the run" else {"not": not switch}
        prompt["5"] = {"class_type": "Truth", "inputs": given}
        prompt["6"] = {"class_type": "Measured", "inputs": {}}
        prompt["3"]["inputs"]["switch"] = ["5", 0]
    graph = parse_graph(prompt, classes)
    if switch and position != "of the run":
        assert check_graph(graph, classes)
        return
    with pytest.raises(MissingFileError, match="There is no file"):
        check_graph(graph, classes)


class Truth(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.Boolean.Input("not"), io.Image.Input("after", optional=True)]
        return io.Schema(node_id="Truth", inputs=inputs, outputs=[io.Boolean.Output()])

    @classmethod
    def execute(cls, after=None, **inputs):
        return io.NodeOutput(not inputs["not"])


class Measured(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Measured", inputs=[], outputs=[io.Image.Output()])

    @classmethod
    def execute(cls):
        raise AssertionError("only the run makes pictures")


def test_a_branch_that_nobody_asks_for_is_checked_all_the_same():
    prompt = {
        "1": number("no"), "2": {"class_type": "Number", "inputs": {"nome": "x"}},
        "3": {"class_type": "Switch", "inputs": {"switch": False, "on_false": ["1", 0], "on_true": ["2", 0]}},
        "4": {"class_type": "Show", "inputs": {"value": ["3", 0]}},
    }  # fmt: skip
    with pytest.raises(GraphError, match="has no input 'nome'"):
        run(prompt)


def test_a_switch_may_choose_by_another_nodes_result():
    prompt = {
        "0": number(""), "1": number("yes"),
        "2": {"class_type": "Switch", "inputs": {"switch": False, "on_false": ["0", 0], "on_true": ["1", 0]}},
        "3": {"class_type": "Switch", "inputs": {"switch": True, "on_false": ["9", 0], "on_true": ["2", 0]}},
        "4": {"class_type": "Show", "inputs": {"value": ["3", 0]}},
        "5": {"class_type": "Show", "inputs": {"value": ["9", 0]}}, "9": number("also an output's"),
    }  # fmt: skip
    assert run(prompt) == [{"value": ""}, {"value": "also an output's"}]
    assert made == ["also an output's", ""]  # values come first: a mistake in them shows before anything is made


def test_names_with_dots_reach_the_node_as_dictionaries():
    inputs = {
        "values.a": 1, "values.c": ["1", 0], "mode": "size", "mode.width": "3", "mode.mask_1": ["1", 0],
        "images.image0": ["1", 0], "images.image2": ["1", 0],
    }  # fmt: skip
    inputs["values.a"] = ["1", 0]
    (shown,) = run({"1": number("x"), "2": {"class_type": "Dynamic", "inputs": inputs}})
    assert shown == {
        "values": {"a": "x", "c": "x"}, "mode": {"mode": "size", "width": 3, "mask_1": "x"},
        "images": {"image0": "x", "image2": "x"}, "seed": 0,
    }  # fmt: skip
    (shown,) = run({"1": number("x"), "2": {"class_type": "Dynamic", "inputs": {"values.a": ["1", 0], "mode": "none"}}})
    assert shown == {"values": {"a": "x"}, "mode": {"mode": "none"}, "images": {}, "seed": 0}


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"mode": "none"}, "needs its input 'values.a', and nothing is connected"),
        ({"values.a": ["1", 0], "mode": "size"}, "needs its input 'mode.mask_1'"),
        ({"values.a": ["1", 0], "mode": "none", "mode.width": 3}, "has no input 'mode.width'"),
        ({"values.a": ["1", 0], "mode": "other"}, "mode of Dynamic .* cannot be 'other'. Choose one of: none, size"),
        ({"values.a": ["1", 0], "values.z": ["1", 0], "mode": "none"}, "has no input 'values.z'"),
    ],
)
def test_dynamic_inputs_are_checked(inputs, words):
    prompt = {"1": number("x"), "2": {"class_type": "Dynamic", "inputs": inputs}}
    with pytest.raises(GraphError, match=words):
        check_graph(parse_graph(prompt, CLASSES), CLASSES)


def test_a_saved_list_holds_the_widgets_of_the_choice_in_it():
    types = Dynamic.INPUT_TYPES()
    assert dict(places_in_list(types, ["size", 5, 7, "fixed"])) == {"mode": 0, "mode.width": 1, "seed": 2}
    assert dict(places_in_list(types, ["none", 7, "fixed"])) == {"mode": 0, "seed": 1}
    assert widget_names(types, {"mode": "size"}) == ["mode", "mode.width", "seed"]


def test_an_input_of_several_types_takes_a_value():
    inputs = {"values.a": 2.5, "mode": "none"}
    assert run({"2": {"class_type": "Dynamic", "inputs": inputs}})[0]["values"] == {"a": 2.5}


def test_nested_choices_lie_within_each_other():
    values = {"mode": "a", "mode.sub": "b", "mode.sub.x": 1, "plain": 2}
    assert nested_inputs({}, values) == {"mode": {"mode": "a", "sub": {"sub": "b", "x": 1}}, "plain": 2}
