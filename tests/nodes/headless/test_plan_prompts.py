"""`plan` counts a pass for each prompt that was combined, and names the node that it cannot count."""

from __future__ import annotations

import pytest
import wan_director
from wan_director.engine.local import LocalRuntime
from wan_director.memory.budget import GB
from wan_director.nodes.headless.core_nodes import LIGHT_CORE_NODES
from wan_director.nodes.headless.graph import parse_graph, read_graph
from wan_director.nodes.headless.graph.api_format import api_graph
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.headless.pairs import LOADERS
from wan_director.nodes.headless.plan import machine, plan_graph, plan_prompt
from wan_director.nodes.headless.plan_graph import _LIGHT, SIZED, GraphReader
from wan_director.nodes.headless.plan_prompts import Prompts, prompts_at
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host

from .conftest import node

COMBINED = {
    "a": node("CLIPTextEncode"),
    "b": node("ConditioningSetTimestepRange", conditioning=["a", 0], start=0.0, end=0.5),
    "two": node("ConditioningCombine", conditioning_1=["a", 0], conditioning_2=["b", 0]),
    "four": node("ConditioningCombine", conditioning_1=["two", 0], conditioning_2=["two", 0]),
    "five": node("ConditioningCombine", conditioning_1=["a", 0], conditioning_2=["four", 0]),
    "joined": node("ConditioningConcat", conditioning_to=["a", 0], conditioning_from=["five", 0]),
    "image": node("WanDirectorImageToVideo", positive=["five", 0], negative=["two", 0]),
    "other": node("SomebodysCombine", conditioning=["two", 0]),
    "mixed": node("ConditioningCombine", conditioning_1=["other", 0], conditioning_2=["five", 0]),
    "round": node("ConditioningCombine", conditioning_1=["round", 0], conditioning_2=["a", 0]),
    "lost": node("ConditioningCombine", conditioning_1=["nowhere", 0], conditioning_2=["a", 0]),
}


@pytest.mark.parametrize(
    ("wire", "number"),
    [
        (["a", 0], 1), (["b", 0], 1), (["two", 0], 2), (["four", 0], 4), (["five", 0], 5), (["joined", 0], 1),
        (["image", 0], 5), (["image", 1], 2), (["round", 0], 2), (["lost", 0], 2),
    ],
)  # fmt: skip
def test_prompts_are_counted_through_the_nodes_that_combine_them(wire, number):
    graph = api_graph({**COMBINED, "end": node("Sink", wire=wire)})
    assert prompts_at(graph, graph["end"].inputs["wire"]) == Prompts(number)


def test_a_node_that_is_not_known_counts_as_one_prompt_or_more():
    graph = api_graph({**COMBINED, "end": node("Sink", wire=["mixed", 0])})
    assert prompts_at(graph, graph["end"].inputs["wire"]) == Prompts(6, graph["other"])


def test_a_long_chain_of_combined_prompts_is_counted():
    nodes = {"0": node("CLIPTextEncode")}
    for id in range(1, 3000):
        nodes[str(id)] = node("ConditioningCombine", conditioning_1=[str(id - 1), 0], conditioning_2=["0", 0])
    graph = api_graph({**nodes, "end": node("Sink", wire=["2999", 0])})
    assert prompts_at(graph, graph["end"].inputs["wire"]).number == 3000


def sampling(prompt: dict, changed: dict, **extra):
    prompt = {**prompt, **extra}
    prompt["6"] = {**prompt["6"], "inputs": {**prompt["6"]["inputs"], **changed}}
    classes = {**wan_director.NODE_CLASS_MAPPINGS, **{each["class_type"]: object for each in extra.values()}}
    made = plan_graph(parse_graph(prompt, classes), machine(8 * GB))
    return made, next(planned.stage for planned in made.stages if planned.stage.kind == "sample")


def test_combined_prompts_are_passes_of_the_plan(tiny_host, prompt):
    plain, stage = sampling(prompt, {})
    assert stage.passes == 2 and "passes" not in plain.text
    combine = node("ConditioningCombine", conditioning_1=["4", 0], conditioning_2=["4", 1])
    made, stage = sampling(prompt, {"positive": ["9", 0]}, **{"9": combine})
    assert stage.passes == 3 and "3 passes of the model a step, one for each prompt" in made.text
    assert "Not planned" not in made.text
    assert stage.task().ways[0].working_bytes > sampling(prompt, {})[1].task().ways[0].working_bytes
    assert sampling(prompt, {"positive": ["9", 0], "cfg": 1.0}, **{"9": combine})[1].passes == 2
    assert sampling(prompt, {"cfg": 1.0})[1].passes == 1


def test_a_plan_names_the_node_whose_prompts_it_cannot_count(tiny_host, prompt):
    made, _ = sampling(prompt, {"negative": ["9", 0]}, **{"9": node("Combine\x1b[2J", "Mine", conditioning=["4", 0])})
    assert "2 passes of the model a step, or more: how many prompts come from Mine (node 9): Combine" in made.text
    assert "\x1b" not in made.text
    made, _ = sampling(
        prompt, {"negative": ["9", 0], "cfg": 1.0}, **{"9": node("Combine", "Mine", conditioning=["4", 0])}
    )
    assert "passes" not in made.text


def test_every_node_that_runs_from_the_command_line_is_planned_or_takes_nothing(tiny_host, prompt):
    staged = {
        "WanDirectorTextEncode", "WanDirectorClipVisionEncode", "WanDirectorSampler", "WanDirectorEncode",
        "WanDirectorDecode", "WanDirectorDecodeToVideo",
    }  # fmt: skip
    for name in {*wan_director.NODE_CLASS_MAPPINGS, *LIGHT_CORE_NODES} - staged:
        assert name in _LIGHT | LOADERS.keys() | SIZED
    reader = GraphReader(
        api_graph({**prompt, "9": node("WanDirectorLoadVideo", file="x.mp4"), "10": node("Video Slice")})
    )
    assert reader.passed_over() == []


def test_a_list_of_two_numbers_is_no_wire_for_the_plan(models, prompt):
    class Card(LocalRuntime):
        def available_bytes(self, device):
            return 8 * GB

    use_host(HeadlessHost(folders=models_in(models), runtime=Card("cpu")))
    prompt["9"] = node("NobodysNode", size=[64, 48], wrapped={"__value__": ["1", 0]}, name=["a", "b"])
    assert len(plan_prompt(prompt).stages) == 3


def test_videos_of_another_pack_are_loaded_by_wan_load_video(write):
    nodes = {"1": node("VHS_LoadVideoPath"), "2": node("WanDirectorSaveVideo", images=["1", 0])}
    with pytest.raises(wan_director.common.errors.GraphError, match="replace the node with Wan Load Video"):
        read_graph(write(nodes), wan_director.NODE_CLASS_MAPPINGS)
