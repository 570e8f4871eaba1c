"""Which model files a workflow loads: on all of ComfyUI's templates those that its front end asks for."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import WanDirectorError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.wanted_models import wanted_models

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
PACKAGE = importlib.util.find_spec("comfyui_workflow_templates_json")
needs_templates = pytest.mark.skipif(PACKAGE is None, reason="comfyui-workflow-templates-json is not installed")


def templates() -> Path:
    assert PACKAGE is not None and PACKAGE.origin is not None
    return Path(PACKAGE.origin).parent / "templates"


def asked_for(workflow: dict[str, Any]) -> Iterator[str]:
    """The front end's rule (1.58.1, `missingModelScan.ts`): of an active node in active subgraphs, the files that it
    offers and has chosen."""
    subgraphs = {each["id"]: each for each in workflow.get("definitions", {}).get("subgraphs", [])}

    def inside(scope: dict[str, Any]) -> Iterator[str]:
        for node in scope.get("nodes", []):
            if node.get("mode", 0) in (2, 4):
                continue
            values = node.get("widgets_values") or []
            chosen = values.values() if isinstance(values, dict) else values
            offered = (node.get("properties") or {}).get("models") or []
            yield from (each["name"] for each in offered if each["name"] in chosen)
            if node["type"] in subgraphs:
                yield from inside(subgraphs[node["type"]])

    return inside(workflow)


@needs_templates
def test_the_files_of_every_template_are_those_that_the_front_end_asks_for():
    different, count = {}, 0
    for path in sorted(templates().glob("*.json")):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(workflow, dict) and "nodes" in workflow:
            found = wanted_models(path, CLASSES)
            count += len(found)
            assert all(each.file is not None for each in found), path.name
            if {each.name for each in found} != set(asked_for(workflow)):
                different[path.name] = found
    assert different == {} and count > 500


@needs_templates
def test_a_file_that_a_subgraphs_own_node_names_counts_and_not_the_one_left_inside(tmp_path: Path):
    text = (templates() / "video_wan2_2_14B_i2v.json").read_text(encoding="utf-8")
    inside, outside = "wan2.2_i2v_high_noise_14B_fp8_scaled", "wan2.2_i2v_high_noise_14B_fp16"
    workflow = json.loads(text)
    subgraphs = {each["id"] for each in workflow["definitions"]["subgraphs"]}
    for node in workflow["nodes"]:
        if node["type"] in subgraphs:
            values = json.dumps(node["widgets_values"])
            node["widgets_values"] = json.loads(values.replace(inside, outside))
            assert values.count(inside) == 1
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(workflow), encoding="utf-8")
    names = {each.name.removesuffix(".safetensors") for each in wanted_models(path, CLASSES)}
    assert outside in names and inside not in names


@pytest.mark.parametrize(
    "text",
    ["5", "[]", "{}", '"x"', "null", "{", '{"nodes": 5}', '{"nodes": [5]}', '{"nodes": [{"id": 1}]}', '{"1": {}}'],
)
def test_what_is_no_workflow_is_refused_in_a_sentence(text: str, tmp_path: Path):
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WanDirectorError):
        wanted_models(path, CLASSES)


@pytest.mark.parametrize("models", [5, [5], {}, [{}], [{"name": 1, "directory": [], "url": {}}], [None], "x"])
@pytest.mark.parametrize("place", ["node", "workflow"])
def test_an_offer_of_another_form_is_no_offer(models: Any, place: str, tmp_path: Path):
    node = {"id": 1, "type": "SomeLoader", "widgets_values": ["x.safetensors"], "properties": {}}
    workflow = {"nodes": [node], "links": [], "definitions": {}}
    (node["properties"] if place == "node" else workflow)["models"] = models
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(workflow), encoding="utf-8")
    (found,) = wanted_models(path, CLASSES)
    assert found.name == "x.safetensors" and found.file is None


@pytest.mark.parametrize("definitions", [5, [], {"subgraphs": 5}, {"subgraphs": [5]}])
def test_damaged_definitions_are_refused(definitions: Any, tmp_path: Path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"nodes": [], "links": [], "definitions": definitions}), encoding="utf-8")
    with pytest.raises(WanDirectorError, match="is damaged"):
        wanted_models(path, CLASSES)
