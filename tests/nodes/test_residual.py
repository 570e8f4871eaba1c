"""The residual stream in float32: reached from the loader, nearer to float32, counted, another model than without."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError
from wan_director.dit.inputs import DitInputs
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.planning.stages import find_stages

from .conftest import call

pytestmark = pytest.mark.usefixtures("inference")
NAME = "wan21_t2v.safetensors"


def load(precision: str, **residual: str):
    return call("LoadModel", model_name=NAME, precision=precision, attention="auto", **residual)


def velocity(model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    latent, text = (torch.randn(shape, generator=generator) for shape in ((1, 16, 3, 8, 8), (1, 512, 4096)))
    return model.residence.module(DitInputs(latent, torch.tensor([999.0]), text))


def test_a_residual_in_float32_is_nearer_to_float32():
    exact, plain = velocity(load("fp32")), velocity(load("bf16"))
    better = velocity(load("bf16", residual="fp32"))
    assert (better - exact).norm() < (plain - exact).norm()


def test_auto_is_the_absent_widget_and_another_model_than_fp32():
    absent, auto, fp32 = load("bf16"), load("bf16", residual="auto"), load("bf16", residual="fp32")
    assert absent is auto and fp32 is not auto
    assert fp32.residence.module.fp32_residual and not auto.residence.module.fp32_residual


def test_an_unknown_residual_is_refused():
    with pytest.raises(InvalidInputError, match="There is no residual 'fp64'. Choose one of: auto, fp32"):
        load("bf16", residual="fp64")


@pytest.mark.parametrize(("residual", "is_counted"), [({}, False), ({"residual": "fp32"}, True)])
def test_the_plan_counts_it(residual, is_counted):
    inputs = {"model_name": NAME, "precision": "bf16", "attention": "auto", **residual}
    prompt = {
        "1": {"class_type": "WanDirectorLoadModel", "inputs": inputs},
        "2": {"class_type": "WanDirectorLoadVAE", "inputs": {"vae_name": "wan21_vae.safetensors"}},
        "3": {"class_type": "WanDirectorLoadTextEncoder", "inputs": {"text_encoder_name": "wan21_text.safetensors"}},
        "4": {"class_type": "WanDirectorTextEncode", "inputs": {"text_encoder": ["3", 0], "positive": ""}},
        "5": {"class_type": "WanDirectorEmptyLatent", "inputs": {"vae": ["2", 0]}},
        "6": {
            "class_type": "WanDirectorSampler",
            "inputs": {"model": ["1", 0], "positive": ["4", 0], "negative": ["4", 1], "latent": ["5", 0]},
        },
    }
    stages = find_stages(parse_graph(prompt, wan_director.NODE_CLASS_MAPPINGS)).stages
    (job,) = [stage.job for stage in stages if stage.kind == "sample"]
    assert job.weights.fp32_residual is is_counted
    plain = replace(job, weights=job.weights._replace(fp32_residual=False))
    assert (job.task.ways[0].working_bytes > plain.task.ways[0].working_bytes) is is_counted
