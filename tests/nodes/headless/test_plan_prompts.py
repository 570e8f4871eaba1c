"""`plan` counts a pass for each prompt that was combined, and names the node that it cannot count."""

from __future__ import annotations

import pytest
import wan_director
from wan_director.common.errors import GraphError
from wan_director.engine.local import LocalRuntime
from wan_director.memory.budget import GB
from wan_director.nodes.headless.graph import GraphNode, parse_graph, read_graph
from wan_director.nodes.headless.graph.api_format import api_graph
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host
from wan_director.nodes.planning.plan import machine, plan_graph, plan_prompt
from wan_director.nodes.planning.stages import find_stages

from .conftest import node

assert wan_director.NODE_CLASS_MAPPINGS  # the nodes are there from now on
NOBODYS = "SomebodysCombine"
COMBINED = {
    "b": node("ConditioningSetTimestepRange", conditioning=["4", 0], start=0.0, end=0.5),
    "two": node("ConditioningCombine", conditioning_1=["4", 0], conditioning_2=["b", 0]),
    "four": node("ConditioningCombine", conditioning_1=["two", 0], conditioning_2=["two", 0]),
    "five": node("ConditioningCombine", conditioning_1=["4", 0], conditioning_2=["four", 0]),
    "joined": node("ConditioningConcat", conditioning_to=["4", 0], conditioning_from=["five", 0]),
    "vace": node("WanDirectorVace", positive=["five", 0], negative=["two", 0], vae=["2", 0], width=64, height=48),
    "other": node(NOBODYS, "Other", conditioning=["two", 0]),
    "mixed": node("ConditioningCombine", conditioning_1=["other", 0], conditioning_2=["five", 0]),
    "both sides": node(NOBODYS, "Both", positive=["five", 0], negative=["two", 0], clip=["3", 0]),
}


def sides_of(prompt: dict, positive: list, negative: list, **changed) -> tuple[int, GraphNode | None]:
    """Passes of a step, and the node whose prompts cannot be counted."""
    prompt = {**prompt, **COMBINED}
    prompt["6"] = {**prompt["6"], "inputs": {**prompt["6"]["inputs"], **changed}}
    prompt["6"]["inputs"] |= {"positive": positive, "negative": negative}
    stages = find_stages(api_graph(prompt)).stages
    (stage,) = [stage for stage in stages if stage.kind == "sample"]
    return stage.job.passes, stage.unknown_prompts


@pytest.mark.parametrize(
    ("positive", "number"),
    [(["4", 0], 1), (["b", 0], 1), (["two", 0], 2), (["four", 0], 4), (["five", 0], 5), (["joined", 0], 1)],
)
def test_prompts_are_counted_through_the_nodes_that_combine_them(positive, number, tiny_host, prompt):
    assert sides_of(prompt, positive, ["4", 1]) == (number + 1, None)
    assert sides_of(prompt, positive, ["4", 1], cfg=1.0) == (number, None)


def test_prompts_are_counted_through_a_node_that_prepares_both_sides(tiny_host, prompt):
    prompt["1"]["inputs"]["model_name"] = "vace.safetensors"
    vace = {"latent": ["vace", 2]}
    assert sides_of(prompt, ["vace", 0], ["vace", 1], **vace) == (7, None)
    assert sides_of(prompt, ["vace", 0], ["vace", 1], cfg=1.0, **vace) == (5, None)


def test_a_node_that_is_not_known_counts_as_the_prompts_it_is_given_or_more(tiny_host, prompt):
    number, node = sides_of(prompt, ["mixed", 0], ["4", 1])
    assert (number, node.id) == (8, "other")
    number, node = sides_of(prompt, ["both sides", 0], ["both sides", 1])
    assert (number, node.id) == (7, "both sides")


def test_wires_in_a_circle_or_from_nowhere_are_refused(tiny_host, prompt):
    for conditioning, words in (["round", 0], "run in a circle"), (["nowhere", 0], "a wire from node nowhere"):
        combined = node("ConditioningCombine", conditioning_1=conditioning, conditioning_2=["4", 0])
        with pytest.raises(GraphError, match=words):
            find_stages(api_graph({**prompt, "round": combined}))


def test_a_long_chain_of_combined_prompts_is_counted(tiny_host, prompt):
    nodes = {"0": node("CLIPTextEncode", clip=["3", 0], text="a")}
    for id in range(100, 1000):
        before = str(id - 1) if id > 100 else "0"
        nodes[str(id)] = node("ConditioningCombine", conditioning_1=[before, 0], conditioning_2=["0", 0])
    assert sides_of({**prompt, **nodes}, ["999", 0], ["0", 0]) == (902, None)


def sampling(prompt: dict, changed: dict, **extra):
    prompt = {**prompt, **extra}
    prompt["6"] = {**prompt["6"], "inputs": {**prompt["6"]["inputs"], **changed}}
    classes = {**wan_director.NODE_CLASS_MAPPINGS, **{each["class_type"]: object for each in extra.values()}}
    made = plan_graph(parse_graph(prompt, classes), machine(8 * GB))
    return made, next(planned.stage.job for planned in made.stages if planned.stage.kind == "sample")


def test_combined_prompts_are_passes_of_the_plan(tiny_host, prompt):
    plain, job = sampling(prompt, {})
    assert job.passes == 2 and "passes" not in plain.text
    combine = node("ConditioningCombine", conditioning_1=["4", 0], conditioning_2=["4", 1])
    made, job = sampling(prompt, {"positive": ["9", 0]}, **{"9": combine})
    assert job.passes == 3 and "3 passes of the model a step, one for each prompt" in made.text
    assert "Not planned" not in made.text
    assert job.task.ways[0].working_bytes > sampling(prompt, {})[1].task.ways[0].working_bytes
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
