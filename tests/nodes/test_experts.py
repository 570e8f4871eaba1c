"""Wan Two Experts: two models in one run equal diffusers' pipeline, and only one of them is at work at a time."""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.common.errors import InvalidInputError, OutOfMemory, PairingError
from wan_director.common.shapes import LatentShape
from wan_director.dit.inputs import Conditioning
from wan_director.engine.local import Interrupted
from wan_director.engine.memory import MemorySettings
from wan_director.engine.sampling.sample import run_sampler
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.memory.budget import Budget
from wan_director.sampling.noise import seeded_noise
from wan_director.sampling.schedule import NoiseSchedule

from ..dit.conftest import build_diffusers, official_name
from .conftest import HEADS, HIGH, LOW, TINY, call, dit, encode, load, save_experts, save_model

pytestmark = pytest.mark.usefixtures("inference")
SAMPLER = {"seed": 3, "steps": 4, "cfg": 3.0, "shift": 5.0, "solver": "unipc", "schedule": "official", "denoise": 1.0}


@pytest.fixture(autouse=True, scope="module")
def experts(models):
    save_experts(models)


@pytest.fixture
def prompts():
    return encode("text.safetensors")


def pair(high: str = HIGH, low: str = LOW, cfg: float = 0.0, steps: int = 0):
    models = {"high_noise": load(high), "low_noise": load(low)}
    return call("Experts", **models, low_noise_cfg=cfg, high_noise_steps=steps)


def sample(model, prompts, **changes) -> torch.Tensor:
    latent = {"samples": torch.zeros(1, 16, 3, 6, 8)}
    inputs = {"model": model, "positive": prompts[0], "negative": prompts[1], "latent": latent}
    return call("Sampler", **inputs, **{**SAMPLER, **changes})["samples"]


@contextlib.contextmanager
def counted(model):
    """Counts the passes through a model's head."""
    calls = []
    handle = model.residence.module.head.register_forward_hook(lambda *_call: calls.append(1))
    try:
        yield calls
    finally:
        handle.remove()


@contextlib.contextmanager
def both_counted():
    with counted(load(HIGH)) as high, counted(load(LOW)) as low:
        yield high, low


def schedulers():
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    unipc = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=12.0)
    return {"euler": FlowMatchEulerDiscreteScheduler(shift=12.0), "unipc": unipc}


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_two_experts_equal_the_pipeline_of_diffusers(solver, models, tiny_host, tmp_path):
    """The whole loop of WanPipeline with two transformers, a boundary and two guidance scales, in float32."""
    from diffusers import AutoencoderKLWan, WanPipeline

    config = dit(text_dim=4096).config
    transformers = []
    with torch.inference_mode(False):
        for seed, name in enumerate((HIGH, LOW)):
            theirs = build_diffusers(config)
            torch.manual_seed(seed)
            for parameter in theirs.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
            transformers.append(theirs)
            save_file({official_name(key): value for key, value in theirs.state_dict().items()}, tmp_path / name, HEADS)
        vae = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    shape = LatentShape(16, 3, 6, 8)
    text = torch.randn(2, 1, 512, 4096, generator=torch.Generator().manual_seed(5))
    pipeline = WanPipeline(None, None, vae, schedulers()[solver], *transformers, boundary_ratio=0.875)
    expected = pipeline(
        prompt_embeds=text[0], negative_prompt_embeds=text[1], height=48, width=64, num_frames=9,
        num_inference_steps=6, guidance_scale=4.0, guidance_scale_2=3.0, latents=seeded_noise(7, shape),
        output_type="latent",
    ).frames  # fmt: skip

    scheduler = pipeline.scheduler
    table = NoiseSchedule(scheduler.sigmas.double(), scheduler.timesteps.double(), starts_from_noise=True)
    assert {float(step) >= 875 for step in table.timesteps} == {True, False}
    tiny_host.folders = {"diffusion_models": [tmp_path]}
    of_their_table = type("OfTheirTable", (SamplerSettings,), {"noise_schedule": lambda _self: table})
    settings = of_their_table(seed=7, cfg=4.0, solver=solver)
    ours = run_sampler(pair(cfg=3.0), *(Conditioning(side) for side in text), torch.zeros(1, *shape), settings)
    assert (ours - expected).abs().max() / expected.abs().max() <= 1e-5


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc", "dpmpp_2m", "dpmpp_sde", "lcm"])
@pytest.mark.parametrize("other", ["t2v.safetensors", "copy.safetensors"])
def test_two_experts_with_the_same_weights_are_one_model(models, prompts, solver, other):
    """What a solver remembers of earlier steps goes on through the change."""
    folder = models / "diffusion_models"
    save_file(load_file(folder / "t2v.safetensors"), folder / "copy.safetensors", TINY)
    both = sample(pair("t2v.safetensors", other, steps=2), prompts, solver=solver)
    assert torch.equal(both, sample(load("t2v.safetensors"), prompts, solver=solver))


@pytest.mark.parametrize(
    ("steps", "changes", "passes"),
    [
        (0, {"steps": 4, "shift": 12.0}, (6, 2)),  # the official table: 3 of 4 steps above 0.875
        (0, {"steps": 4, "shift": 5.0}, (4, 4)),
        (1, {"steps": 4, "shift": 12.0}, (2, 6)),
        (4, {"steps": 4}, (8, 0)),
        (0, {"steps": 4, "schedule": "simple", "denoise": 0.3}, (0, 8)),
        (0, {"steps": 2, "cfg": 1.0}, (1, 1)),
        (0, {"sigmas": torch.tensor([1.0, 0.9, 0.8, 0.0])}, (4, 2)),
    ],
)
def test_each_expert_makes_its_steps(prompts, steps, changes, passes):
    with both_counted() as counts:
        sample(pair(steps=steps), prompts, **changes)
    assert tuple(map(len, counts)) == passes


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"schedule": "linear", "shift": 3.0, "steps": 10}, (4, 6)),  # the fourth: 874.999...
        ({"sigmas": torch.tensor([1.0, 0.875, 0.5, 0.0])}, (2, 1)),
        ({"sigmas": torch.tensor([1.0, 0.8745, 0.5, 0.0])}, (1, 2)),
    ],
)
def test_a_step_at_the_boundary_is_the_high_noise_experts(prompts, changes, passes):
    with both_counted() as counts:
        sample(pair(), prompts, cfg=1.0, **changes)
    assert tuple(map(len, counts)) == passes


@pytest.mark.parametrize(("solver", "passes"), [("heun", (4, 3)), ("dpmpp_sde", (2, 2))])
def test_an_expert_answers_all_questions_of_its_steps(prompts, solver, passes):
    """Heun asks twice in a step, the second time at the noise level of the next one."""
    with both_counted() as counts:
        sample(pair(steps=2), prompts, solver=solver, cfg=1.0)
    assert tuple(map(len, counts)) == passes
    with both_counted() as counts:
        sample(pair(steps=3), prompts, solver=solver, cfg=1.0, sigmas=torch.tensor([1.0, 0.9, 0.8, 0.5]))
    assert len(counts[1]) == 0


def test_models_with_a_picture_change_over_at_their_own_boundary(models, prompts):
    """At 0.9, where text to video has 0.875."""
    for name in (HIGH, LOW):
        save_model(models / "diffusion_models" / f"i2v_{name}", dit(in_channels=36), HEADS | TINY)
    vae = call("LoadVAE", vae_name="vae.safetensors", precision="auto")
    positive, negative, latent = call(
        "ImageToVideo", positive=prompts[0], negative=prompts[1], vae=vae, width=64, height=48, frames=9, batch_size=1,
        fit="crop", start_image=torch.rand(1, 48, 64, 3),
    )  # fmt: skip
    with counted(load(f"i2v_{HIGH}")) as high, counted(load(f"i2v_{LOW}")) as low:
        model = pair(f"i2v_{HIGH}", f"i2v_{LOW}")
        inputs = {"model": model, "positive": positive, "negative": negative, "latent": latent}
        call("Sampler", **inputs, **{**SAMPLER, "cfg": 1.0}, sigmas=torch.tensor([1.0, 0.9, 0.89, 0.0]))
    assert (len(high), len(low)) == (2, 1)


def test_each_expert_has_its_cfg(prompts):
    with both_counted() as (high, low):
        both = sample(pair(cfg=1.0), prompts)
    assert (len(high), len(low)) == (4, 2)  # no negative prompt at cfg 1
    assert torch.equal(sample(pair(), prompts), sample(pair(cfg=3.0), prompts))
    assert not torch.allclose(both, sample(pair(), prompts), atol=1e-3)


class Watched:
    """A residence that notes when its model comes and goes."""

    def __init__(self, residence, name: str, events: list[str]) -> None:
        self._residence, self._name, self._events = residence, name, events

    def __getattr__(self, name: str):
        return getattr(self._residence, name)

    @contextlib.contextmanager
    def loaded(self, *arguments):
        self._events.append(f"{self._name} comes")
        with self._residence.loaded(*arguments) as module:
            yield module
        self._events.append(f"{self._name} goes")

    def unload(self) -> None:
        self._events.append(f"{self._name} is away")
        self._residence.unload()


def with_residence(model, residence):
    return replace(model, placed=replace(model.placed, residence=residence))


def watched(model, events: list[str]):
    low = model.low_noise.model
    low = with_residence(low, Watched(low.residence, "low", events))
    high = with_residence(model, Watched(model.residence, "high", events))
    return replace(high, low_noise=model.low_noise._replace(model=low))


def test_only_one_expert_is_on_the_device(prompts, caplog):
    caplog.set_level(logging.INFO)
    events: list[str] = []
    sample(watched(pair(), events), prompts)
    # A host may keep a model on the device when it goes: so it is sent away before the other one comes.
    assert events == ["low is away", "high comes", "high goes", "high is away", "low comes", "low goes"]
    lines = [record.getMessage() for record in caplog.records if "works from step" in record.getMessage()]
    assert lines == [
        f"{HIGH}, the high-noise expert, works from step 1 on.",
        f"{LOW}, the low-noise expert, works from step 3 on.",
    ]


def test_an_expert_without_steps_is_not_loaded(prompts):
    events: list[str] = []
    sample(watched(pair(steps=4), events), prompts)
    assert "low comes" not in events and events.count("high comes") == 1


def test_out_of_memory_in_the_second_expert_is_mended(prompts, caplog):
    undisturbed = sample(pair(), prompts)
    caplog.clear()
    calls = []

    def fail_once(*_call):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model = pair()
    handle = model.low_noise.model.residence.module.blocks[1].register_forward_hook(fail_once)
    try:
        assert torch.equal(sample(model, prompts), undisturbed)
    finally:
        handle.remove()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Out of memory in step 3: 2 of 2 blocks are swapped" in warning
    assert torch.equal(sample(pair(), prompts), undisturbed)


def test_a_stop_in_the_second_expert_leaves_both_ready(prompts, tiny_host, monkeypatch):
    undisturbed = sample(pair(), prompts)
    events: list[str] = []

    def stop() -> None:
        if "low comes" in events:
            raise Interrupted("stopped")

    monkeypatch.setattr(tiny_host.runtime, "check_interrupt", stop)
    with pytest.raises(Interrupted):
        sample(watched(pair(), events), prompts)
    monkeypatch.undo()
    assert torch.equal(sample(pair(), prompts), undisturbed)


@pytest.mark.parametrize("roomy", [True, False])
def test_experts_share_pinned_memory_or_take_turns_in_it(prompts, roomy):
    """The second one would have to read its blocks from the file in each step, if the first one kept its slabs."""
    model = pair()
    undisturbed = sample(model, prompts)
    one = sum(value.nbytes for value in model.residence.module.blocks.state_dict().values()) + 20_000  # alignment
    cap = 2 * one if roomy else one
    for _ in range(2):
        memory = MemorySettings(blocks_to_swap=2, pinned_bytes=cap)
        assert torch.equal(sample(model, prompts, memory=memory), undisturbed)
        high, low = (each.residence.slabs.size_bytes for each in (model, model.low_noise.model))
        assert low > 0.9 * (one - 20_000) and high + low <= cap
        assert (high > 0) is roomy


@pytest.fixture
def lora(models):
    generator = torch.Generator().manual_seed(4)
    tensors = {
        f"diffusion_model.blocks.{block}.ffn.0.lora_{side}.weight": 0.3 * torch.randn(shape, generator=generator)
        for block in (0, 1)
        for side, shape in (("A", (4, 48)), ("B", (64, 4)))
    }
    (models / "loras").mkdir(exist_ok=True)
    save_file(tensors, models / "loras" / "both.safetensors")
    widgets = {"strength": 1.0, "blocks": "all", "start_percent": 0.0, "end_percent": 1.0, "merge": False}
    return lambda model, **changes: call("Lora", model=model, lora_name="both.safetensors", **{**widgets, **changes})


def test_a_lora_behind_the_pair_is_on_both(prompts, lora):
    before = {"high_noise": lora(load(HIGH)), "low_noise": lora(load(LOW))}
    each = sample(call("Experts", **before, low_noise_cfg=0.0, high_noise_steps=0), prompts)
    assert torch.equal(sample(lora(pair()), prompts), each)
    plain = sample(pair(), prompts)
    assert not torch.allclose(each, plain, atol=1e-3)
    before["high_noise"] = load(HIGH)
    one = sample(call("Experts", **before, low_noise_cfg=0.0, high_noise_steps=0), prompts)
    assert not torch.allclose(one, plain, atol=1e-3) and not torch.allclose(one, each, atol=1e-3)


def idle_loras(caplog) -> list[str]:
    return [line for record in caplog.records if "does nothing" in (line := record.getMessage())]


def test_a_lora_is_told_to_be_idle_by_the_steps_of_its_expert(prompts, lora, caplog):
    """Two of four steps are each expert's."""
    before = {"high_noise": lora(load(HIGH), start_percent=0.5), "low_noise": load(LOW)}
    late = sample(call("Experts", **before, low_noise_cfg=0.0, high_noise_steps=2), prompts)
    assert idle_loras(caplog) == [
        "both.safetensors does nothing in this run: none of the 4 steps begins in its part from 0.5 to 1. Widen it."
    ]
    caplog.clear()
    assert torch.equal(late, sample(pair(steps=2), prompts))
    sample(lora(pair(steps=2), start_percent=0.5), prompts)
    assert idle_loras(caplog) == []  # it is active on the other one
    sample(lora(pair(steps=2), start_percent=0.9), prompts)
    assert len(idle_loras(caplog)) == 1


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_sde"])
def test_a_lora_on_both_is_active_in_the_same_steps_as_on_one_model(prompts, lora, solver):
    late = {"start_percent": 0.5}
    both = sample(lora(pair("t2v.safetensors", "t2v.safetensors", steps=2), **late), prompts, solver=solver)
    assert torch.equal(both, sample(lora(load("t2v.safetensors"), **late), prompts, solver=solver))


def test_the_part_of_a_lora_counts_the_steps_of_both(prompts, lora):
    """The second half of the four steps is the low-noise expert's here."""
    late = lora(pair(), start_percent=0.5)
    before = {"high_noise": load(HIGH), "low_noise": lora(load(LOW))}
    expected = sample(call("Experts", **before, low_noise_cfg=0.0, high_noise_steps=0), prompts)
    assert torch.equal(sample(late, prompts), expected)


def test_experts_that_are_swapped_by_name_are_refused():
    with pytest.raises(PairingError, match="a14b_low_noise.safetensors is the low-noise expert by its name, but it is"):
        pair(LOW, HIGH)
    with pytest.raises(PairingError, match="a14b_high_noise.* connected as low_noise"):
        pair(HIGH, HIGH)


def test_models_of_two_kinds_are_no_pair():
    with pytest.raises(PairingError, match=r"a14b_high.*wan21_t2v.safetensors \(.*\) are not two experts of one model"):
        pair(HIGH, "wan21_t2v.safetensors")


def test_more_steps_than_there_are_is_refused_before_anything_is_loaded(prompts):
    events: list[str] = []
    with pytest.raises(InvalidInputError, match="first 6 steps .* the run has 4. Choose at most 4"):
        sample(watched(pair(steps=6), events), prompts)
    assert not events


def test_a_run_of_no_steps_gives_the_latent_itself(prompts):
    for changes in ({"denoise": 0.0}, {"sigmas": torch.empty(0)}):
        assert torch.equal(sample(pair(steps=2), prompts, **changes), sample(load(LOW), prompts, **changes))


def test_a_pair_in_a_pair_is_refused():
    for high, low in ((pair(), load(LOW)), (load(HIGH), pair())):
        with pytest.raises(PairingError, match="is a pair of experts already .* Connect one model, from Load"):
            call("Experts", high_noise=high, low_noise=low, low_noise_cfg=0.0, high_noise_steps=0)


def test_memory_is_planned_for_each_expert_before_one_is_loaded(prompts):
    """Here the second one, in another precision, is the larger one."""
    low = call("LoadModel", model_name=LOW, precision="fp32", attention="auto")
    high = call("LoadModel", model_name=HIGH, precision="bf16", attention="auto")
    model = call("Experts", high_noise=high, low_noise=low, low_noise_cfg=0.0, high_noise_steps=2)

    def limit(size_bytes: int) -> MemorySettings:
        return MemorySettings(Budget("use at most", size_bytes))

    least = {}
    for name, single in (("high", high), ("low", low)):
        with pytest.raises(OutOfMemory) as refused:
            sample(single, prompts, memory=limit(1))
        least[name] = float(re.search(r"takes ([\d.]+) MB at least", str(refused.value))[1])
    between = limit(round((least["high"] + least["low"]) / 2 * 1e6))
    sample(high, prompts, memory=between)
    events: list[str] = []
    with pytest.raises(OutOfMemory, match="It does not fit into"):
        sample(watched(model, events), prompts, memory=between)
    assert events == []
