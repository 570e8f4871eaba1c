"""Hostile and damaged workflow files: one sentence, little time, no traceback."""

from __future__ import annotations

import copy
import json
import random
import time
from pathlib import Path

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import GraphError, MissingFileError, WanDirectorError
from wan_director.nodes.api import io
from wan_director.nodes.headless.checks import check_graph
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import GraphNode, Link, parse_graph, read_graph, set_value
from wan_director.nodes.headless.runner import run_graph

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
FIXTURES = sorted((Path(__file__).parent / "fixtures" / "frontend_1_58").glob("*.json"))
WRONG = [None, 0, -10, -20, 1.5, True, "", "x", [], {}, [1], [None], ["5", 0], {"a": 1}, "Reroute", "GetNode", "Note"]
WRONG += ["PrimitiveNode", "workflow>Sampling", 2, 4]


def refusal(data: object) -> str:
    start = time.process_time()
    with pytest.raises(WanDirectorError) as error:
        parse_graph(data, CLASSES)
    assert time.process_time() - start < 10
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    return str(error.value)


def paths(value: object, at: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, part in items for path in paths(part, (*at, key)))]


def with_a_wrong_part(workflow: dict, chance: random.Random) -> dict:
    broken = copy.deepcopy(workflow)
    *folders, last = chance.choice(paths(workflow)[1:])
    part = broken
    for key in folders:
        part = part[key]
    part[last] = chance.choice(WRONG)
    return broken


@pytest.mark.parametrize("form", ["workflow", "saved", "prompt"])
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_part_of_a_wrong_type_never_crashes(path, form):
    whole = json.loads(path.read_text(encoding="utf-8"))[form]
    for seed in range(8):
        broken = with_a_wrong_part(whole, random.Random(f"{path.stem} {form} {seed}"))
        try:
            graph = parse_graph(broken, CLASSES)
            sampler = next((id for id, node in graph.items() if node.class_type == "WanDirectorSampler"), None)
            if sampler:
                set_value(graph, CLASSES, f"{sampler}.steps=17", None if form == "prompt" else broken)
        except WanDirectorError as error:
            assert "\n" not in str(error)


API_MISTAKES = {
    "class_type is a list": ({"class_type": ["a"], "inputs": {}}, "Node 1: class_type must be the name of a class"),
    "class_type is nothing": ({"class_type": None, "inputs": {}}, "class_type must be .* got nothing"),
    "class_type is missing": ({"inputs": {}}, "class_type must be .* got nothing"),
    "inputs is a list": ({"class_type": "WanDirectorDecode", "inputs": []}, "inputs must be an object .* got a list"),
    "inputs is a text": ({"class_type": "WanDirectorDecode", "inputs": "x"}, "inputs must be an object .* got a text"),
    "the node is a number": (5, "this node must be an object with class_type and inputs, got a number"),
}  # fmt: skip


@pytest.mark.parametrize("case", API_MISTAKES)
def test_prompts_with_wrong_types_are_refused(case):
    node, words = API_MISTAKES[case]
    with pytest.raises(GraphError, match=words):
        parse_graph({"0": {"class_type": "WanDirectorDecode", "inputs": {}}, "1": node}, CLASSES)


@pytest.mark.parametrize("meta", [[], "title", 5, {"title": 5}, {"title": ["a"]}, None])
def test_a_title_that_is_no_text_is_left_out(meta):
    graph = parse_graph({"1": {"class_type": "WanDirectorDecode", "_meta": meta}}, CLASSES)
    assert graph["1"].title == ("title" if meta == "title" else "WanDirectorDecode")


def test_values_of_a_wrong_type_are_refused_before_the_nodes_see_them(prompt, tiny_host):
    for value, words in ((5, "cannot be '5'"), ({"a": 1}, "cannot be"), ([6, 0], r'a wire as the .* \["6", 0\]')):
        prompt["1"]["inputs"]["model_name"] = value
        with pytest.raises(GraphError, match=f"model_name of WanDirectorLoadModel .*{words}"):
            check_graph(parse_graph(prompt, CLASSES), CLASSES)


def subgraph(id: str, nodes: list[dict], **parts) -> dict:
    return {"id": id, "name": id, "nodes": nodes, "links": [], "inputs": [], "outputs": [], **parts}


def doubled(levels: int, innermost: list[dict]) -> dict:
    definitions = [subgraph("s0", innermost)]
    for level in range(1, levels):
        nodes = [{"id": id, "type": f"s{level - 1}"} for id in (1, 2)]
        definitions.append(subgraph(f"s{level}", nodes))
    return {"nodes": [{"id": 1, "type": f"s{levels - 1}"}], "links": [], "definitions": {"subgraphs": definitions}}


def test_subgraphs_that_stand_for_a_billion_nodes_are_refused_at_once():
    words = refusal(doubled(31, [{"id": 1, "type": "WanDirectorDecode"}]))
    assert "stands for 3,221,225,471 nodes once its subgraphs are opened; at most 100,000 can run" in words
    assert "stands for 2,147,483,647 nodes" in refusal(doubled(31, []))
    assert "more than 10^15 nodes" in refusal(doubled(90, []))
    assert "more than 100 subgraphs lie within each other" in refusal(doubled(101, []))


def test_a_subgraph_that_holds_itself_is_refused():
    inside = [{"id": 1, "type": "b"}], [{"id": 1, "type": "a"}]
    definitions = [subgraph("a", inside[0]), subgraph("b", inside[1])]
    words = refusal({"nodes": [{"id": 1, "type": "a"}], "links": [], "definitions": {"subgraphs": definitions}})
    assert "(subgraph a holds itself)" in words


def test_reroutes_in_a_circle_are_refused():
    reroutes = [
        {"id": id, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 3 - id}], "outputs": [{"type": "*"}]}
        for id in (1, 2)
    ]
    save = {"id": 3, "type": "WanDirectorSaveVideo", "inputs": [{"name": "images", "type": "IMAGE", "link": 3}]}
    links = [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 2, 0, 3, 0, "*"]]
    assert "comes back to itself" in refusal({"nodes": [*reroutes, save], "links": links})


def test_a_hundred_thousand_reroutes_in_a_row_are_followed():
    count = 90_000
    nodes = [{"id": 0, "type": "WanDirectorDecode", "outputs": [{"type": "IMAGE"}]}]
    nodes += [{"id": id, "type": "Reroute", "inputs": [{"name": "", "link": id}]} for id in range(1, count)]
    nodes.append({"id": count, "type": "WanDirectorSaveVideo", "inputs": [{"name": "images", "link": count}]})
    links = [[id, id - 1, 0, id, 0, "*"] for id in range(1, count + 1)]
    assert parse_graph({"nodes": nodes, "links": links}, CLASSES)[str(count)].inputs["images"] == Link("0", 0)


class Add(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.Image.Input("value", optional=True)]
        return io.Schema(node_id="Add", inputs=inputs, outputs=[io.Image.Output()], is_output_node=False)

    @classmethod
    def execute(cls, value=0):
        return io.NodeOutput(value + 1)


class End(Add):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="End", inputs=[io.Image.Input("value")], is_output_node=True)

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(ui={"value": value})


def test_a_chain_of_many_nodes_runs():
    count = 5_000
    classes = {"Add": Add, "End": End}
    graph = {"0": GraphNode("0", "Add", "Add", {})}
    graph |= {str(id): GraphNode(str(id), "Add", "Add", {"value": Link(str(id - 1), 0)}) for id in range(1, count)}
    graph["end"] = GraphNode("end", "End", "End", {"value": Link(str(count - 1), 0)})
    assert run_graph(graph, classes) == [{"value": count}]
    graph["0"] = GraphNode("0", "Add", "Add", {"value": Link(str(count - 1), 0)})
    with pytest.raises(GraphError, match="the wires run in a circle"):
        run_graph(graph, classes)


@pytest.mark.parametrize("depth", [250, 700, 100_000])
def test_deeply_nested_json_is_refused(depth, tmp_path):
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = f'{{"1": {{"class_type": "WanDirectorDecode", "inputs": {{"a": {opening * depth}0{closing * depth}}}}}}}'
        (tmp_path / "deep.json").write_text(text)
        with pytest.raises(GraphError, match="deep.json (is no JSON file|has more than 200 lists within each other)"):
            read_graph(tmp_path / "deep.json", CLASSES)


def test_files_that_cannot_be_opened_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no workflow file"):
        read_graph(tmp_path, CLASSES)
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(GraphError, match="large.json has 315 MB; a workflow has less than 256 MB"):
        read_graph(tmp_path / "large.json", CLASSES)


def test_what_steers_a_terminal_is_spelt_out():
    title = "\x1b[2J\x1b]0;mine\x07\u202egnp\x9b31m\nnext\ud800" + "x" * 10_000
    words = refusal({"\x1b[1m": {"class_type": "Unknown\x1b[0m", "_meta": {"title": title}}})
    assert r"Node \x1b[1m '\x1b[2J\x1b]0;mine\x07\u202egnp\x9b31m\nnext\ud800xxx" in words
    assert "Unknown\\x1b[0m" in words and words.isprintable()
    graph = parse_graph({"1": {"class_type": "WanDirectorDecode", "_meta": {"title": title}}}, CLASSES)
    assert graph["1"].label.isprintable() and graph["1"].title == title
    with pytest.raises(GraphError) as error:
        set_value(graph, CLASSES, "\x1b[2J.x\n=1")
    assert str(error.value).isprintable()


def test_names_of_files_that_steer_a_terminal_are_spelt_out(prompt, tiny_host):
    prompt["9"] = {"class_type": "LoadImage", "inputs": {"image": "\x1b[2J.png"}}
    prompt["8"]["inputs"]["images"] = ["9", 0]
    with pytest.raises(WanDirectorError) as error:
        check_graph(parse_graph(prompt, CLASSES), CLASSES)
    assert str(error.value).isprintable() and "\\x1b[2J.png" in str(error.value)


def test_a_value_is_set_in_a_file_without_wires():
    workflow = {"nodes": [{"id": 1, "type": "WanDirectorSampler", "inputs": [{"name": "seed", "link": 5}]}]}
    graph = parse_graph(workflow, CLASSES)
    set_value(graph, CLASSES, "1.seed=7", workflow)
    assert graph["1"].inputs == {"seed": 7} and workflow["nodes"][0]["widgets_values"] == [7]
    assert parse_graph(workflow, CLASSES)["1"].inputs == {"seed": 7}


def test_many_of_what_a_file_repeats_take_little_time():
    group = {"nodes": [{"type": "Note"}] * 2000, "links": []}
    hosts = [{"id": id, "type": "workflow>g"} for id in range(2000)]
    workflow = {"nodes": hosts, "links": [], "extra": {"groupNodes": {"g": group}}}
    assert "its group nodes stand for more than 100,000 nodes" in refusal(workflow)
    sockets = [{"name": str(number), "type": "*"} for number in range(5000)]
    workflow = {"nodes": [{"id": 1, "type": "WanDirectorDecode", "inputs": sockets}], "links": []}
    assert "(the inputs of node 1 of the workflow are 5,000)" in refusal(workflow)
    count = 20_000
    nodes = [{"id": id, "type": "SetNode", "widgets_values": [str(id)]} for id in range(count)]
    nodes += [{"id": count + id, "type": "GetNode", "widgets_values": [str(id)]} for id in range(count)]
    nodes += [
        {"id": 2 * count + id, "type": "WanDirectorDecode", "inputs": [{"name": "vae", "link": id}]}
        for id in range(count)
    ]
    links = [[id, count + id, 0, 2 * count + id, 0, "*"] for id in range(count)]
    start = time.process_time()
    assert len(parse_graph({"nodes": nodes, "links": links}, CLASSES)) == count
    assert time.process_time() - start < 20
