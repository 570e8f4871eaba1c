"""Wan From Native on the command line, where the native loaders give our own models, and in plans."""

from __future__ import annotations

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.planning.native import known_classes
from wan_director.nodes.planning.stages import find_stages

from ..conftest import call, load
from .conftest import core, node, unet

CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}


def from_native(model, attention: str = "sdpa") -> tuple:
    return wan_director.NODE_CLASS_MAPPINGS["WanDirectorFromNative"].execute(model=model, attention=attention).args


def test_the_loaders_model_comes_out_with_its_shift(inference):
    model, shift = from_native(unet())
    assert shift == 8.0 and model.residence is load("t2v.safetensors").residence
    assert from_native(core("ModelSamplingSD3", model=unet(), shift=3.0))[1] == 3.0


def test_the_attention_is_that_of_this_node(inference):
    assert from_native(unet())[0].recipe.attention == "sdpa" and unet().model.recipe.attention == "auto"
    with pytest.raises(InvalidInputError, match="Attention 'fast' is unknown"):
        from_native(unet(), "fast")


@pytest.mark.parametrize("value", [None, "t2v.safetensors", {}])
def test_what_is_no_model_is_refused(value, inference):
    with pytest.raises(InvalidInputError, match="model must be the model of Load Diffusion Model, got"):
        from_native(value)


def test_a_run_is_that_of_our_loader_to_the_bit(prompts):
    latent = core("EmptyHunyuanLatentVideo", width=64, height=48, length=9, batch_size=1)
    settings = {"seed": 1, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple"}
    one, other = (
        call("Sampler", model=model, latent=latent, **prompts, **settings, denoise=1.0)["samples"]
        for model in (from_native(unet())[0], load("t2v.safetensors"))
    )
    assert torch.equal(one, other)


@pytest.fixture
def graph(prompt) -> dict:
    """The sampler's model by way of the native loader, its shift by a wire."""
    prompt["1"] = node("UNETLoader", unet_name="t2v.safetensors", weight_dtype="default")
    prompt["shifted"] = node("ModelSamplingSD3", model=["1", 0], shift=3.0)
    prompt["bridge"] = node("WanDirectorFromNative", model=["shifted", 0], attention="auto")
    prompt["6"]["inputs"] |= {"model": ["bridge", 0], "shift": ["bridge", 1]}
    return prompt


def kinds(graph: dict, classes: dict) -> list[str]:
    return [stage.job.kind for stage in find_stages(parse_graph(graph, classes), None, classes).stages]


def test_a_graph_with_it_runs_and_is_planned(graph, tiny_host):
    (shown,) = run_graph(parse_graph(graph, CLASSES), CLASSES)
    assert len(shown["images"]) == 1
    assert kinds(graph, CLASSES) == ["text", "sample", "decode"]


def test_comfyui_plans_it_with_its_own_loader(graph, tiny_host):
    """Wan Memory's plan of a workflow that ComfyUI runs, whose loaders are not ours."""
    assert kinds(graph, known_classes()) == ["text", "sample", "decode"]


def test_a_native_file_that_only_comfyui_reads_is_its_own_matter(graph, tiny_host):
    graph["other"] = node("UNETLoader", unet_name="../away.safetensors", weight_dtype="default")
    assert "sample" in kinds(graph, known_classes())
