"""Uni3C beside a transformer, against ComfyUI's own (recorded), and with all that a pass may have."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wan_director.benchmarks.peak_memory import peak_bytes
from wan_director.common.errors import PairingError
from wan_director.dit.branches.uni3c import Uni3CBranch
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.conditioning.rendered import RenderedVideo
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, lean_ways
from wan_director.dit.footprint import block_weights, other_weights, pass_bytes, pass_shape
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.memory.policy import BlockSwap
from wan_director.memory.slabs import Slabs

FIXTURES = Path(__file__).parent / "fixtures"
MADE = runpy.run_path(str(FIXTURES / "uni3c_models.py"))
EXPECTED = load_file(FIXTURES / "uni3c_outputs.safetensors")
BRANCH = Uni3CBranch(**MADE["CONTROL"])
ROOTS = Uni3CBranch.roots


def config_of(name: str) -> DiTConfig:
    return DiTConfig(**MADE["SIZES"], in_channels=MADE["MODELS"][name], branches=(BRANCH,))


def build(name: str) -> WanDiT:
    model = WanDiT(config_of(name))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    trunk = {key: shape for key, shape in shapes.items() if key.split(".")[0] not in ROOTS}
    own = {key: shape for key, shape in shapes.items() if key not in trunk}
    model.load_state_dict(MADE["random_like"](trunk, 41) | MADE["random_like"](own, 42))
    return model.eval().requires_grad_(False)


def inputs_of(name: str, **item) -> DitInputs:
    asked = MADE["random_inputs"](MADE["MODELS"][name])
    beside = asked["beside"] if asked["beside"].shape[1] else None
    plain = DitInputs(asked["latent"], asked["timestep"], asked["text"], beside)
    return RenderedVideo(asked["render"], **{"strength": MADE["STRENGTH"], **item}).apply(plain)


@pytest.mark.parametrize("name", MADE["MODELS"])
def test_the_velocity_equals_comfyuis(name):
    velocity, expected = build(name)(inputs_of(name)), EXPECTED[name]
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()
    plain = build(name)(replace(inputs_of(name), steering=()))
    assert (plain - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("way", lean_ways(4), ids=str)
def test_overwritten_and_lean_passes_give_the_same(way):
    model, inputs = build("i2v"), inputs_of("i2v")
    velocity = model(inputs, Execution(may_overwrite=True, lean=way))
    assert (velocity - EXPECTED["i2v"]).abs().max() <= 1e-5 * EXPECTED["i2v"].abs().max()


def test_swapped_blocks_give_the_same_bits():
    model, inputs = build("i2v"), inputs_of("i2v")
    with BlockSwap(4, 0).streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        assert torch.equal(model(inputs, Execution(stream=stream)), model(inputs))


def test_a_render_that_does_not_count_is_absent_to_the_bit():
    model, plain = build("i2v"), replace(inputs_of("i2v"), steering=())
    without = WanDiT(replace(model.config, branches=())).eval()
    without.load_state_dict({key: value for key, value in model.state_dict().items() if key.split(".")[0] not in ROOTS})
    expected = without(plain)
    assert torch.equal(model(plain), expected)
    for item in ({"strength": 0.0}, {"first_sigma": 0.6}, {"last_sigma": 0.62}):
        assert inputs_of("i2v", **item).steering == ()
        assert torch.equal(model(inputs_of("i2v", **item)), expected)
    counted = inputs_of("i2v", first_sigma=0.61325, last_sigma=0.5)
    assert torch.equal(model(counted), model(inputs_of("i2v")))


def test_one_render_serves_a_batch_and_a_window_has_its_part():
    model, asked = build("t2v"), MADE["random_inputs"](16)
    item = RenderedVideo(asked["render"], MADE["STRENGTH"])
    latents = torch.cat([asked["latent"], 0.5 * asked["latent"]])
    both = model(item.apply(DitInputs(latents, torch.full((2,), 613.25), asked["text"].expand(2, -1, -1))))
    for number in range(2):
        alone = model(item.apply(DitInputs(latents[number : number + 1], asked["timestep"], asked["text"])))
        assert (both[number : number + 1] - alone).abs().max() <= 1e-5 * alone.abs().max()
    cut = item.window(Cut(1, 3, 3))
    assert torch.equal(cut.latent, asked["render"][:, :, 1:])


def test_per_frame_times_take_the_first():
    """As ComfyUI does: the first frame's embedding scales the control net."""
    model, inputs = build("t2v"), inputs_of("t2v")
    times = replace(inputs, timestep=inputs.timestep.expand(1, 3))
    assert (model(times) - EXPECTED["t2v"]).abs().max() <= 1e-5 * EXPECTED["t2v"].abs().max()


def test_a_16_bit_model_stays_near_its_float32_result():
    velocity = build("i2v").to(torch.bfloat16)(inputs_of("i2v"))
    assert (velocity - EXPECTED["i2v"]).norm() <= 1.3e-2 * EXPECTED["i2v"].norm()


def test_what_does_not_fit_is_refused():
    model, inputs = build("t2v"), inputs_of("t2v")
    with pytest.raises(PairingError, match="2 rendered videos for Uni3C, which follows one"):
        model(replace(inputs, steering=inputs.steering * 2))
    other = replace(inputs, latent=inputs.latent[:, :, :2])
    with pytest.raises(PairingError, match="prepared for a latent of"):
        model(other)
    with pytest.raises(PairingError, match="has no Uni3C control net"):
        WanDiT(replace(config_of("t2v"), branches=()))(inputs)


def test_its_numbers_are_counted():
    config = config_of("i2v")
    counted = sum(weights.elements for weights in block_weights(config)) + other_weights(config)
    assert counted == sum(parameter.numel() for parameter in WanDiT(config).parameters())


@pytest.mark.parametrize("way", [0, 1, 2], ids=["fast", "lean", "leanest"])
@pytest.mark.parametrize("latent", [(21, 60, 104), (3, 60, 104)])
def test_a_pass_holds_what_the_arithmetic_says(latent, way):
    config = replace(PRESETS["i2v-14B"], layers=1, branches=(Uni3CBranch(1),))
    with torch.device("meta"):
        model = WanDiT(config).to(torch.bfloat16)
        plain = DitInputs(
            torch.empty(1, 16, *latent), torch.empty(1), torch.empty(1, 512, 4096), torch.empty(1, 20, *latent)
        )
        inputs = RenderedVideo(torch.empty(1, 16, *latent)).apply(plain)
    execution = Execution(may_overwrite=True, lean=lean_ways(40)[way])
    predicted = pass_bytes(config, pass_shape((1, *latent), {Uni3CBranch: 1}), lean=execution.lean)
    assert predicted == pytest.approx(peak_bytes(lambda: model(inputs, execution)), rel=0.02)
