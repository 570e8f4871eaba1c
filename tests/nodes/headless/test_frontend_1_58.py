"""Canvas files as ComfyUI's front end 1.58.1 reads them: what it queued in a browser for these graphs is the reference.

Each fixture holds a graph as it was given to the canvas ("workflow"), the graph as the canvas saves it again ("saved"),
and the prompt that it sends to the server for it. Server: ComfyUI 0.33.0.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph, set_value
from wan_director.nodes.headless.graph.api_format import as_prompt

FOLDER = Path(__file__).parent / "fixtures" / "frontend_1_58"
CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
EQUAL = [
    "dynamic_prompts", "dynamic_prompts_promoted", "promoted_nested", "promoted_nested_proxies", "promoted_primitive",
    "promoted_proxies", "promoted_quarantine", "promoted_values", "promoted_wire", "promoted_without_values",
]  # fmt: skip


def fixture(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def converted(workflow: dict) -> dict:
    return as_prompt(parse_graph(workflow, CLASSES))


@pytest.mark.parametrize("form", ["workflow", "saved"])
@pytest.mark.parametrize("name", EQUAL)
def test_values_of_a_subgraphs_own_node_are_those_the_canvas_queues(name, form):
    recorded = fixture(name)
    assert converted(recorded[form]) == recorded["prompt"]


def test_a_group_node_is_opened_as_the_canvas_opens_it():
    recorded = fixture("group_node")
    assert converted(recorded["saved"]) == recorded["prompt"]
    ids_in_the_file = json.dumps(recorded["prompt"]).replace("403:401", "40:0").replace("403:402", "40:1")
    assert converted(recorded["workflow"]) == json.loads(ids_in_the_file)


def test_a_primitive_outside_reaches_into_a_subgraph():
    # The canvas shows 99 and queues the 1 that was left inside.
    recorded = fixture("promoted_by_primitive")
    assert recorded["prompt"]["40:2"]["inputs"]["seed"] == 1
    recorded["prompt"]["40:2"]["inputs"]["seed"] = 99
    assert converted(recorded["workflow"]) == recorded["prompt"]


def test_values_by_name_count_and_the_list_where_both_are_complete():
    workflow = fixture("promoted_values")["saved"]
    host = next(node for node in workflow["nodes"] if node["id"] == 40)
    assert list(host["widgets_values_named"].items()) == [("positive", "first"), ("seed", 11), ("steps", 3)]
    host["widgets_values"] = ["from the list", 11, 3]
    assert converted(workflow)["40:1"]["inputs"]["positive"] == "from the list"
    host["widgets_values"] = None
    assert converted(workflow)["40:1"]["inputs"]["positive"] == "first"
    host["widgets_values"] = [None, 11, 3]
    assert converted(workflow)["40:1"]["inputs"]["positive"] == "left inside"


@pytest.mark.parametrize("name", ["promoted_values", "promoted_proxies"])
def test_where_a_subgraphs_node_holds_null_the_value_inside_counts_and_the_log_says_so_once(name, caplog):
    # The canvas queues null, which the node inside refuses or takes for its default.
    workflow = fixture(name)["workflow"]
    host = next(node for node in workflow["nodes"] if node["id"] == 40)
    host.pop("widgets_values_named", None)
    host["widgets_values"] = [None, *host["widgets_values"][1:]]
    with caplog.at_level("INFO", "wan_director"):
        texts = [node["inputs"]["positive"] for node in converted(workflow).values() if "positive" in node["inputs"]]
    assert "left inside" in texts
    assert len([line for line in caplog.messages if "positive of" in line and "(null)" in line]) == 1


def test_a_subgraphs_node_with_all_its_values_says_nothing_in_the_log(caplog):
    with caplog.at_level("INFO", "wan_director"):
        converted(fixture("promoted_values")["workflow"])
    assert "null" not in caplog.text


@pytest.mark.parametrize("form", ["workflow", "saved"])
@pytest.mark.parametrize("name", [*EQUAL, "promoted_by_primitive"])
@pytest.mark.parametrize("input", ["positive", "negative", "seed", "steps", "cfg", "denoise", "solver"])
def test_a_value_that_is_set_is_in_the_saved_workflow_too(name, form, input):
    workflow = fixture(name)[form]
    before = copy.deepcopy(workflow)
    graph = parse_graph(workflow, CLASSES)
    id = next(id for id, node in graph.items() if id.startswith("40:") and input in node.inputs)
    value = {"positive": "new text", "negative": "other", "cfg": "1.25", "denoise": "0.5", "solver": "heun"}
    others = {key: dict(node.inputs) for key, node in graph.items() if key != id}
    set_value(graph, CLASSES, f"{id}.{input}={value.get(input, '17')}", workflow)
    assert str(graph[id].inputs[input]) == value.get(input, "17")
    assert {key: dict(node.inputs) for key, node in graph.items() if key != id} == others
    assert converted(workflow) == as_prompt(graph)
    assert converted(before) != converted(workflow)
