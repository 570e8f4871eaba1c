"""Wan LoRA: a file on disk changes the video as merged weights would; a new strength loads nothing again."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from pathlib import Path

import pytest
import torch
import wan_director
from safetensors.torch import load_file, save_file
from wan_director.common.errors import CheckpointError, InvalidInputError, MissingFileError, PairingError
from wan_director.dit.adapters import ParameterShapes
from wan_director.engine import loras as engine_loras
from wan_director.model_loading import build as building
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph

from .conftest import call

NODES = wan_director.NODE_CLASS_MAPPINGS
WORKFLOW = Path(wan_director.__file__).parent / "workflows" / "api" / "tiny_t2v.json"
SAMPLER = {"seed": 3, "steps": 2, "cfg": 1.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
DEFAULTS = {"strength": 1.0, "blocks": "all", "start_percent": 0.0, "end_percent": 1.0, "merge": False}


@pytest.fixture(autouse=True)
def run_like_the_hosts(tiny_host):
    engine_loras._read.cache_clear()
    with torch.inference_mode():
        yield


@pytest.fixture
def model():
    return call("LoadModel", model_name="t2v.safetensors", precision="auto", attention="auto")


@pytest.fixture
def prompts():
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")
    return call("TextEncode", text_encoder=encoder, positive="a red ball", negative="")


def factors(seed: int, size: float = 0.3) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(down, up) for some layers of the random model, whose width is 48."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"self_attn.q": (48, 48), "self_attn.o": (48, 48), "cross_attn.v": (48, 48), "ffn.0": (64, 48)}
    return {
        f"blocks.{block}.{layer}": (
            size * torch.randn(4, inner, generator=generator),
            size * torch.randn(out, 4, generator=generator),
        )
        for block in range(2)
        for layer, (out, inner) in sizes.items()
    }


def write_lora(folder: Path, name: str, seed: int) -> str:
    tensors = {}
    for layer, (down, up) in factors(seed).items():
        tensors[f"diffusion_model.{layer}.lora_A.weight"] = down
        tensors[f"diffusion_model.{layer}.lora_B.weight"] = up
    (folder / "loras").mkdir(exist_ok=True)
    save_file(tensors, folder / "loras" / name)
    return name


@pytest.fixture
def lora(models):
    return write_lora(models, "style.safetensors", seed=1)


@pytest.fixture
def second_lora(models):
    return write_lora(models, "motion.safetensors", seed=2)


def with_lora(model, name, **changes):
    return call("Lora", model=model, lora_name=name, **{**DEFAULTS, **changes})


def sample(model, prompts, **changes) -> torch.Tensor:
    latent = {"samples": torch.zeros(1, 16, 3, 6, 8)}
    inputs = {"model": model, "positive": prompts[0], "negative": prompts[1], "latent": latent}
    return call("Sampler", **inputs, **{**SAMPLER, **changes})["samples"]


def merged_model(models: Path, *parts: tuple[int, float]):
    """The model of a file whose weights have the LoRAs (seed, strength) summed in."""
    weights = load_file(models / "diffusion_models" / "t2v.safetensors")
    for seed, strength in parts:
        for layer, (down, up) in factors(seed).items():
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + strength * (up @ down)
    metadata = {"wan_director.family": "tiny", "wan_director.heads": "4"}
    save_file(weights, models / "diffusion_models" / "merged.safetensors", metadata)
    return call("LoadModel", model_name="merged.safetensors", precision="auto", attention="auto")


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within what two orders of summation make of two steps in float32."""
    assert (found - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("merge", [False, True])
def test_a_lora_gives_what_merged_weights_give(models, model, prompts, lora, merge):
    expected = sample(merged_model(models, (1, 0.8)), prompts)
    plain = sample(model, prompts)
    assert_close(sample(with_lora(model, lora, strength=0.8, merge=merge), prompts), expected)
    assert (plain - expected).norm() / expected.norm() > 0.01
    assert torch.equal(sample(model, prompts), plain)


def test_loras_chain(models, model, prompts, lora, second_lora):
    chained = with_lora(with_lora(model, lora, strength=0.8), second_lora, strength=-0.5)
    assert_close(sample(chained, prompts), sample(merged_model(models, (1, 0.8), (2, -0.5)), prompts))


def test_zero_is_bitwise_absent(model, prompts, lora):
    assert torch.equal(sample(with_lora(model, lora, strength=0.0), prompts), sample(model, prompts))


def test_another_strength_loads_nothing_again(monkeypatch, model, prompts, lora):
    reads, builds = [], []
    read, build = engine_loras.read_lora, building.load
    monkeypatch.setattr(engine_loras, "read_lora", lambda *args, **how: reads.append(args) or read(*args, **how))
    monkeypatch.setattr(building, "load", lambda *a, **k: builds.append(a) or build(*a, **k))
    results = [sample(with_lora(model, lora, strength=strength), prompts) for strength in (1.0, 0.5, -1.0)]
    assert len(reads) == 1 and not builds
    assert not torch.equal(results[0], results[1]) and not torch.equal(results[1], results[2])


def test_a_changed_file_is_read_again(models, model, prompts, lora):
    first = sample(with_lora(model, lora), prompts)
    (models / "loras" / lora).unlink()
    write_lora(models, lora, seed=5)
    assert not torch.equal(sample(with_lora(model, lora), prompts), first)


def test_the_part_of_the_steps(model, prompts, lora):
    """With two steps, the first half is the first step."""
    whole, none = sample(with_lora(model, lora), prompts), sample(model, prompts)
    first = sample(with_lora(model, lora, end_percent=0.5), prompts)
    last = sample(with_lora(model, lora, start_percent=0.5), prompts)
    results = [whole, none, first, last]
    assert not any(torch.equal(a, b) for index, a in enumerate(results) for b in results[:index])
    both = with_lora(with_lora(model, lora, end_percent=0.5), lora, start_percent=0.5)
    assert torch.equal(sample(both, prompts), whole)
    one_step = {"steps": 1}
    never = sample(with_lora(model, lora, start_percent=0.5), prompts, **one_step)
    assert torch.equal(never, sample(model, prompts, **one_step))


def test_a_part_without_a_step_is_warned_of(caplog, model, prompts, lora):
    with caplog.at_level(logging.WARNING, "wan_director"):
        sample(with_lora(model, lora, start_percent=0.5), prompts)
        sample(with_lora(model, lora, strength=0.0, start_percent=0.5), prompts, steps=1)
        assert not caplog.text
        sample(with_lora(model, lora, start_percent=0.5), prompts, steps=1)
    assert (
        "style.safetensors does nothing in this run: none of the 1 steps begins in its part from 0.5 to 1"
        in caplog.text
    )


def test_settings_that_do_not_go_together_are_said_in_one_line(caplog, models, model, prompts, lora):
    write_lora(models, "style_4steps.safetensors", seed=1)
    with caplog.at_level(logging.WARNING, "wan_director"):
        plain = sample(with_lora(model, lora), prompts, steps=13, cfg=5.0)
        sample(with_lora(model, "style_4steps.safetensors"), prompts, steps=4)
        assert not caplog.text
        told = sample(with_lora(model, "style_4steps.safetensors"), prompts, steps=13, cfg=5.0)
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith("These settings do not go together. 13 steps with style_4steps.safetensors, a LoRA for few")
    assert "Cfg 5 with style_4steps.safetensors" in said
    assert torch.equal(told, plain), "what is said changes nothing"


def test_blocks(model, prompts, lora):
    halves = with_lora(with_lora(model, lora, blocks="0"), lora, blocks="1-39")
    assert_close(sample(halves, prompts), sample(with_lora(model, lora), prompts))
    assert not torch.equal(sample(with_lora(model, lora, blocks="0"), prompts), sample(model, prompts))
    with pytest.raises(InvalidInputError, match="'all' or numbers such as '0-9,20', got 'some'"):
        with_lora(model, lora, blocks="some")
    with pytest.raises(InvalidInputError, match="style.safetensors changes the blocks 0 to 1 of this model, but the"):
        with_lora(model, lora, blocks="2-39")


def test_an_interrupted_run_leaves_the_model_as_it_was(monkeypatch, tiny_host, model, prompts, lora):
    plain = sample(model, prompts)
    tiny_host.runtime.interrupted = True
    with pytest.raises(BaseException):  # noqa: B017  (the host's own kind)
        sample(with_lora(model, lora), prompts)
    tiny_host.runtime.interrupted = False
    assert torch.equal(sample(model, prompts), plain)


def test_what_matched_is_logged_once(caplog, models, model):
    tensors = {
        "lora_unet_blocks_0_self_attn_q.lora_down.weight": torch.ones(4, 48),
        "lora_unet_blocks_0_self_attn_q.lora_up.weight": torch.ones(48, 4),
        "lora_unet_blocks_0_cross_attn_k_img.lora_down.weight": torch.ones(4, 48),
        "lora_unet_blocks_0_unknown.lora_down.weight": torch.ones(4, 48),
    }
    (models / "loras").mkdir(exist_ok=True)
    save_file(tensors, models / "loras" / "partial.safetensors")
    with caplog.at_level(logging.INFO, logger="wan_director"):
        with_lora(model, "partial.safetensors")
        with_lora(model, "partial.safetensors", strength=0.3)
    lines = [record.message for record in caplog.records if "partial" in record.message]
    assert lines == [
        "LoRA partial.safetensors: 2 of 4 tensors matched, which change 1 parameters; 1 ignored (of the CLIP image "
        "branch, which this model does not have); 1 unmatched (first: lora_unet_blocks_0_unknown.lora_down.weight)."
    ]


def test_wrong_loras_are_refused(models, model):
    (models / "loras").mkdir(exist_ok=True)
    wide = {f"blocks.0.self_attn.q.lora_{half}.weight": torch.ones(5120, 5120)[:8] for half in "A"}
    wide |= {"blocks.0.self_attn.q.lora_B.weight": torch.ones(5120, 8)}
    save_file({name: value.contiguous() for name, value in wide.items()}, models / "loras" / "wide.safetensors")
    with pytest.raises(PairingError, match="wide.safetensors is a LoRA for the 14B models of Wan 2.1 and 2.2, but t2v"):
        with_lora(model, "wide.safetensors")
    with pytest.raises(MissingFileError, match=r"gone.safetensors is not in .*loras. Put the LoRA there"):
        with_lora(model, "gone.safetensors")
    validate = NODES["WanDirectorLora"].validate_inputs
    assert validate(lora_name="wide.safetensors") is True and validate() is True
    with pytest.raises(MissingFileError, match=r"gone.safetensors is not in .*loras. Put the LoRA there"):
        validate(lora_name="gone.safetensors")
    (models / "loras" / "model.safetensors").write_bytes((models / "diffusion_models" / "t2v.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="is a diffusion model and not a LoRA"):
        validate(lora_name="model.safetensors")
    with pytest.raises(CheckpointError, match="is a diffusion model"):
        with_lora(model, "model.safetensors")


def test_merging_into_quantised_weights_is_refused_before_any_work(model, lora):
    """The same shapes, one of them said to be quantised."""
    shapes = ParameterShapes(model.shapes.shapes, frozenset({"blocks.0.ffn.0.weight"}))
    quantised = dataclasses.replace(model, shapes=shapes)
    with_lora(quantised, lora)
    with pytest.raises(InvalidInputError, match=r"cannot be merged .*blocks.0.ffn.0.weight.* Switch merge off"):
        with_lora(quantised, lora, merge=True)
    with_lora(quantised, lora, merge=True, blocks="1")


def test_a_bias_beside_quantised_weights_may_be_marked_for_merging(models, model, prompts, lora):
    """The sum of biases is exact; the layer's stored weight stays as it is, also with another LoRA on it."""
    biases = {f"diffusion_model.blocks.{block}.ffn.0.diff_b": torch.full((64,), 0.5) for block in range(2)}
    save_file(biases, models / "loras" / "biases.safetensors")
    quantised = call("LoadModel", model_name="t2v.safetensors", precision="fp8_scaled", attention="auto")
    beside, merged = (with_lora(quantised, "biases.safetensors", merge=merge) for merge in (False, True))
    expected = sample(beside, prompts)
    assert not torch.equal(expected, sample(quantised, prompts))
    assert torch.equal(sample(merged, prompts), expected)
    assert torch.equal(sample(with_lora(merged, lora), prompts), sample(with_lora(beside, lora), prompts))


def test_the_bundled_model_takes_a_lora_headless(models, tiny_host):
    """A workflow file with the node in it, from the command line's runner to the saved video."""
    generator = torch.Generator().manual_seed(0)
    bundled = Path(wan_director.__file__).parent / "models/diffusion_models/wan_director_tiny_demo_t2v.safetensors"
    sizes = {name: value.shape for name, value in load_file(bundled).items() if name.endswith("self_attn.v.weight")}
    tensors = {}
    for name, (out, inner) in sizes.items():
        layer = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        tensors[f"{layer}.lora_down.weight"] = torch.randn(4, inner, generator=generator)
        tensors[f"{layer}.lora_up.weight"] = torch.randn(out, 4, generator=generator)
        tensors[f"{layer}.alpha"] = torch.tensor(1.0)
    (models / "loras").mkdir(exist_ok=True)
    save_file(tensors, models / "loras" / "demo.safetensors")
    prompt = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    prompt["6"]["inputs"]["frames"] = 5
    prompt["7"]["inputs"] |= {"steps": 1, "cfg": 1.0, "model": ["30", 0]}
    prompt["9"]["inputs"] |= {"format": "png frames", "filename_prefix": "lora"}
    pictures = []
    for strength in (0.0, 1.0):
        inputs = {"model": ["3", 0], "lora_name": "demo.safetensors", **DEFAULTS, "strength": strength}
        prompt["30"] = {"class_type": "WanDirectorLora", "inputs": inputs}
        classes = {**CORE_NODES, **NODES}
        (shown,) = run_graph(parse_graph(prompt, classes), classes)
        first = shown["images"][0]
        pictures.append((tiny_host.output / first["subfolder"] / first["filename"]).read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    ("widgets", "sentence"),
    [
        ({"blocks": "first ten"}, "Blocks are 'all' or numbers such as '0-9,20', got 'first ten'."),
        ({"start_percent": 0.6, "end_percent": 0.4}, "got 0.6 and 0.4. Use 0 and 1 for all steps."),
        ({"start_percent": -0.1, "end_percent": 0.4}, "got -0.1 and 0.4. Use 0 and 1 for all steps."),
    ],
)
def test_widgets_that_cannot_work_are_refused_before_the_run(widgets: dict, sentence: str):
    with pytest.raises(InvalidInputError, match=re.escape(sentence)):
        wan_director.NODE_CLASS_MAPPINGS["WanDirectorLora"].validate_inputs(**widgets)


def test_widgets_that_come_over_a_wire_are_checked_in_the_run():
    assert wan_director.NODE_CLASS_MAPPINGS["WanDirectorLora"].validate_inputs(blocks=None, start_percent=0.5) is True
