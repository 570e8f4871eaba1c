"""Nodes that are on the canvas only, unknown nodes, choices in prompts, and how files may be written."""

from __future__ import annotations

import json
import logging
import random

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import GraphError
from wan_director.nodes.headless.checks import check_graph
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import Link, parse_graph, read_graph, set_value
from wan_director.nodes.headless.graph.api_format import as_prompt
from wan_director.nodes.headless.graph.dynamic_prompts import resolved_prompt

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}


def node(id: int, type: str, inputs: dict | None = None, outputs: list | None = None, values=None, **more) -> dict:
    """`inputs`: link ids by name."""
    sockets = [{"name": name, "type": "*", "link": link} for name, link in (inputs or {}).items()]
    given = [{"name": each, "type": each, "links": []} for each in outputs or []]
    return {"id": id, "type": type, "mode": 0, "inputs": sockets, "outputs": given, "widgets_values": values, **more}


def canvas(*nodes: dict, links: list) -> dict:
    return {"version": 0.4, "nodes": list(nodes), "links": [[*link, "*"] for link in links]}


DECODE = node(1, "WanDirectorDecode", outputs=["IMAGE"])
SAVE = node(9, "WanDirectorSaveVideo", {"images": 20})


def test_set_and_get_nodes_stand_for_a_wire():
    for setter, getter in (("SetNode", "GetNode"), ("easy setNode", "easy getNode")):
        workflow = canvas(
            DECODE, node(2, setter, {"IMAGE": 10}, ["*"], ["clip"]), node(3, getter, {}, ["IMAGE"], ["clip"]), SAVE,
            links=[(10, 1, 0, 2, 0), (20, 3, 0, 9, 0)],
        )  # fmt: skip
        graph = parse_graph(workflow, CLASSES)
        assert set(graph) == {"1", "9"} and graph["9"].inputs["images"] == Link("1", 0)
        workflow["nodes"][2]["widgets_values"] = ["nowhere"]
        assert "images" not in parse_graph(workflow, CLASSES)["9"].inputs
        workflow["nodes"][1]["mode"] = 2
        workflow["nodes"][2]["widgets_values"] = ["clip"]
        assert "images" not in parse_graph(workflow, CLASSES)["9"].inputs


def test_a_get_node_in_a_subgraph_reads_a_set_node_around_it():
    inner = {
        "id": "inside", "name": "Inside", "inputs": [], "outputs": [{"name": "out", "type": "IMAGE"}],
        "nodes": [node(3, "GetNode", {}, ["IMAGE"], ["clip"])],
        "links": [{"id": 1, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0}],
    }  # fmt: skip
    workflow = canvas(
        DECODE, node(2, "SetNode", {"IMAGE": 10}, ["*"], ["clip"]), node(4, "inside", {}, ["IMAGE"]), SAVE,
        links=[(10, 1, 0, 2, 0), (20, 4, 0, 9, 0)],
    )  # fmt: skip
    workflow["definitions"] = {"subgraphs": [inner]}
    assert parse_graph(workflow, CLASSES)["9"].inputs["images"] == Link("1", 0)


def test_reroutes_and_decoration_of_packs_leave_no_trace():
    decoration = [
        node(30 + number, type)
        for number, type in enumerate(
            ("Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)", "Fast Groups Muter (rgthree)")
        )
    ]
    muter = node(40, "Fast Muter (rgthree)", {"": 21}, ["*"])
    workflow = canvas(
        DECODE, node(2, "Reroute (rgthree)", {"": 10}, ["IMAGE"]), SAVE, muter, *decoration,
        links=[(10, 1, 0, 2, 0), (20, 2, 0, 9, 0), (21, 1, 0, 40, 0)],
    )  # fmt: skip
    graph = parse_graph(workflow, CLASSES)
    assert set(graph) == {"1", "9"} and graph["9"].inputs["images"] == Link("1", 0)


def test_a_primitive_feeds_a_widget_past_a_reroute():
    workflow = canvas(
        node(5, "PrimitiveNode", {}, ["FLOAT"], [24.0, "fixed"]), node(6, "Reroute", {"": 11}, ["*"]), DECODE,
        node(9, "WanDirectorSaveVideo", {"images": 20, "fps": 12}, values=[16.0, "x", "mp4-h264", 80]),
        links=[(20, 1, 0, 9, 0), (11, 5, 0, 6, 0), (12, 6, 0, 9, 1)],
    )  # fmt: skip
    assert parse_graph(workflow, CLASSES)["9"].inputs["fps"] == 24.0


def test_unknown_nodes_that_no_result_needs_are_left_out(caplog):
    unneeded = [
        node(2, "MaskPreview", {"images": 11}),
        node(3, "CLIPLoaderMultiGPU", {}, ["CLIP"], ["umt5.safetensors"]),
        node(4, "VHS_VideoInfo", {"images": 12}, ["INT"]),
        node(5, "MaskPreview", {"images": None}),
    ]
    links = [(20, 1, 0, 9, 0), (11, 1, 0, 2, 0), (12, 1, 0, 4, 0)]
    with caplog.at_level(logging.INFO, "wan_director"):
        assert set(parse_graph(canvas(DECODE, SAVE, *unneeded, links=links), CLASSES)) == {"1", "9"}
    assert (
        "Left out, because no result needs them: MaskPreview (node 2, 5), CLIPLoaderMultiGPU (node 3), VHS_VideoInfo "
        "(node 4)." in caplog.text
    )


@pytest.mark.parametrize(
    "unknown", [node(2, "VHS_VideoCombine", {"images": 11}, ["VHS_FILENAMES"]), node(2, "SomeSaver", {"images": 11})]
)
def test_an_unknown_node_that_may_save_is_refused(unknown):
    workflow = canvas(DECODE, SAVE, unknown, links=[(20, 1, 0, 9, 0), (11, 1, 0, 2, 0)])
    with pytest.raises(GraphError, match=f"Node 2 is a {unknown['type']}, which the command line does not know"):
        parse_graph(workflow, CLASSES)


def test_unknown_nodes_are_all_named_with_what_replaces_them():
    workflow = canvas(
        node(1, "UNETLoaderMultiGPU", {}, ["MODEL"]),
        node(2, "WanMoeKSampler", {"model": 10, "latent": 13}, ["LATENT"]),
        node(3, "WanMoeKSampler", {"latent_image": 11, "model": 10}, ["LATENT"]),
        node(4, "NobodysNode", {"samples": 12}, ["IMAGE"]), node(9, "WanDirectorSaveVideo", {"images": 20}),
        links=[(10, 1, 0, 2, 0), (11, 2, 0, 3, 0), (12, 3, 0, 4, 0), (20, 4, 0, 9, 0)],
    )  # fmt: skip
    with pytest.raises(GraphError) as error:
        parse_graph(workflow, CLASSES)
    assert str(error.value) == (
        "The command line does not know 4 nodes of 3 kinds that this workflow needs: UNETLoaderMultiGPU (node 1; use "
        "Load Wan Model), WanMoeKSampler (node 2, 3; use Wan Two Experts and one Wan Sampler), NobodysNode (node 4). "
        "It runs the nodes of Wan Director and ComfyUI's for Wan models, pictures, videos and values; run this "
        "workflow in ComfyUI, or replace them."
    )


def test_thousands_of_unknown_nodes_make_one_short_sentence():
    prompt = {str(id): {"class_type": f"Kind{id % 60}", "inputs": {}} for id in range(6000)}
    with pytest.raises(GraphError) as error:
        parse_graph(prompt, CLASSES)
    assert "6,000 nodes of 60 kinds" in str(error.value) and "and 95 more" in str(error.value)
    assert "and 20 more kinds" in str(error.value) and len(str(error.value)) < 3000


def test_an_output_that_nothing_is_connected_to_is_left_out(prompt, tiny_host, caplog):
    prompt["20"] = {"class_type": "WanDirectorSaveVideo", "inputs": {"fps": 8.0, "filename_prefix": "x"}}
    with caplog.at_level(logging.INFO, "wan_director"):
        assert "20" not in check_graph(parse_graph(prompt, CLASSES), CLASSES)
    assert "WanDirectorSaveVideo (node 20) is left out: nothing is connected to it." in caplog.text
    del prompt["8"]
    with pytest.raises(GraphError, match="needs its input 'images', and nothing is connected"):
        check_graph(parse_graph(prompt, CLASSES), CLASSES)


PROMPTS = {
    "a red ball": {"a red ball"},
    "a {red|blue} ball": {"a red ball", "a blue ball"},
    "{a|{b|c} d}": {"a", "b d", "c d"},
    "{a|}": {"a", ""},
    r"\{a\|b\} {c\|d|e\}}": {"{a|b} c|d", "{a|b} e}"},
    "one // two\nthree /* four\nfive */six": {"one \nthree six"},
    "a } b | c": {"a } b | c"},
    "{a|b": {"a", "b"},
    "(x:1.2) \\n {only}": {"(x:1.2) \\n only"},
    "http://x {a // b|c}": {"http:"},
    "": {""},
}


@pytest.mark.parametrize("text", PROMPTS)
def test_choices_and_comments_in_prompts_are_read_as_on_the_canvas(text):
    random.seed(1)
    assert {resolved_prompt(text) for _ in range(60)} == PROMPTS[text]


def test_braces_without_end_take_no_time():
    assert resolved_prompt("{" * 50_000 + "x") == "x"


def encode(text: str) -> dict:
    return canvas(node(4, "WanDirectorTextEncode", values=[text, "bad"]), links=[])


def test_a_prompt_typed_on_the_canvas_is_resolved_and_said(caplog):
    with caplog.at_level(logging.INFO, "wan_director"):
        graph = parse_graph(encode("a {red|red} ball // note"), CLASSES)
    assert graph["4"].inputs["positive"] == "a red ball "
    assert "Wan Text Encode (node 4): positive is 'a red ball ', drawn from its {choices}" in caplog.text


def test_a_prompt_in_the_servers_format_stays_as_it_is():
    prompt = {"4": {"class_type": "WanDirectorTextEncode", "inputs": {"positive": "{a|b} // c", "negative": ""}}}
    graph = parse_graph(prompt, CLASSES)
    assert graph["4"].inputs["positive"] == "{a|b} // c"
    set_value(graph, CLASSES, "4.positive={c|c} // d")
    assert graph["4"].inputs["positive"] == "{c|c} // d"


def test_a_prompt_that_is_set_is_as_typed_into_the_canvas():
    workflow = encode("old")
    graph = parse_graph(workflow, CLASSES)
    set_value(graph, CLASSES, "4.positive={c|c} // d", workflow)
    assert graph["4"].inputs["positive"] == "c "
    assert workflow["nodes"][0]["widgets_values"] == ["{c|c} // d", "bad"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_files_may_be_in_any_unicode_encoding(prompt, tmp_path, encoding):
    prompt["4"]["inputs"]["positive"] = "ein grüner Ball \u9f99"
    (tmp_path / "graph.json").write_bytes(json.dumps(prompt, ensure_ascii=False).encode(encoding))
    graph, workflow = read_graph(tmp_path / "graph.json", CLASSES)
    assert as_prompt(graph)["4"]["inputs"] == prompt["4"]["inputs"] and workflow is None


def test_a_file_may_be_what_was_posted_to_a_server(prompt, write):
    workflow = {"nodes": [], "links": []}
    plain = as_prompt(parse_graph(prompt, CLASSES))
    posted = {"client_id": "x", "prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": workflow}}}
    for data, beside in (
        ({"prompt": prompt}, None),
        (posted, workflow),
        ({"output": prompt, "workflow": workflow}, workflow),
    ):
        graph, found = read_graph(write(data), CLASSES)
        assert as_prompt(graph) == plain and found == beside


def test_lists_come_back_as_the_values_they_were():
    inputs = {"latent": {"__value__": ["a", 0]}, "vae": ["b", 1]}
    prompt = {"a": {"class_type": "WanDirectorDecode", "inputs": inputs, "_meta": {"title": "x"}}}
    graph = parse_graph(prompt, CLASSES)
    assert graph["a"].inputs == {"latent": ["a", 0], "vae": Link("b", 1)}
    assert as_prompt(graph) == prompt


def test_slashes_of_the_other_system_name_the_same_file(prompt, tiny_host):
    (folder,) = tiny_host.model_folders("vae")[:1]
    (folder / "wan").mkdir()
    (folder / "wan" / "copy.safetensors").write_bytes((folder / "vae.safetensors").read_bytes())
    prompt["2"]["inputs"]["vae_name"] = "wan\\copy.safetensors"
    assert check_graph(parse_graph(prompt, CLASSES), CLASSES)["2"].inputs["vae_name"] == "wan/copy.safetensors"


def test_input_files_are_found_as_the_canvas_names_them(tmp_path, tiny_host):
    inputs, outputs, beside = tmp_path / "input", tmp_path / "out", tmp_path / "output"
    tiny_host.inputs, tiny_host.output = (inputs,), outputs
    for file in (
        inputs / "clipspace" / "mask.png",
        inputs / "a.png",
        outputs / "b.png",
        beside / "c.png",
        tmp_path / "temp" / "d.png",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert tiny_host.input_file("a.png [input]") == inputs / "a.png"
    assert tiny_host.input_file("clipspace/mask.png [input]") == inputs / "clipspace" / "mask.png"
    assert tiny_host.input_file("clipspace\\mask.png") == inputs / "clipspace" / "mask.png"
    assert tiny_host.input_file("b.png [output]") == outputs / "b.png"
    assert tiny_host.input_file("c.png[output]") == beside / "c.png"
    assert tiny_host.input_file("d.png [temp]") == tmp_path / "temp" / "d.png"
