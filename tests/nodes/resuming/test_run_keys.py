"""What decides a result makes another run of it; what does not, none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, LowRank
from wan_director.dit.conditioning.characters.scail import REPLACEMENT, KeptFrames, ScailCharacter, ScailPose
from wan_director.dit.inputs import Conditioning
from wan_director.dit.rope import TokenPlaces
from wan_director.engine.memory import MemorySettings
from wan_director.engine.models import with_lora, with_low_noise, with_policies
from wan_director.engine.recipe import LoraRecipe
from wan_director.engine.resuming import identity
from wan_director.engine.resuming.digest import NoDigest, digest
from wan_director.memory.budget import Budget
from wan_director.sampling.cache import RatioRecorder
from wan_director.sampling.given import GivenFrames, HeldRegion, NoisyRegion
from wan_director.sampling.guidance import CFG, CfgZeroStar
from wan_director.sampling.prompts import PromptPart, Prompts

from ..conftest import HIGH, LOW, TINY, save_experts
from .conftest import SETTINGS, load, sample, sides, stop_in_step

LATENT = torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(4))


def key_of(runtime, model=None, settings=SETTINGS, **inputs) -> str:
    """The key that a run is kept under."""
    keys = []

    class Noting:
        def of(self, key, kinds):
            keys.append(key())
            raise KeyError

    runtime.kept_runs = Noting()
    with pytest.raises(KeyError):
        sample(load() if model is None else model, settings, **inputs)
    return keys[0]


def with_adapter(scale: float, strength: float = 1.0):
    """A model with a LoRA that came over a wire, as ComfyUI's own nodes bring one."""
    low_rank = LowRank(torch.full((2, 48), scale), torch.ones(48, 2), 1.0)
    adapter = Adapter("test", {"blocks.1.self_attn.q.weight": (Change(low_rank),)})
    return replace(load(), loras=(AppliedAdapter(adapter, strength),))


def lora_file(folder: Path, scale: float = 0.1) -> Path:
    name = "diffusion_model.blocks.1.self_attn.q.lora_{}.weight"
    path = folder / "some_lora.safetensors"
    save_file({name.format("A"): torch.full((2, 48), scale), name.format("B"): torch.ones(48, 2)}, path)
    return path


def test_every_setting_makes_another_run(tiny_host):
    changes = [
        *({"seed": 4}, {"steps": 5}, {"cfg": 3.5}, {"shift": 4.0}, {"solver": "euler"}, {"schedule": "beta"}),
        *({"denoise": 0.5}, {"sigmas": torch.tensor([1.0, 0.5, 0.0])}, {"start_step": 1}, {"end_step": 3}),
        {"end_step": 3, "ends_clean": True},
    ]
    keys = [key_of(tiny_host.runtime, settings=replace(SETTINGS, **change)) for change in ({}, *changes)]
    assert len(set(keys)) == len(keys)


def test_every_input_makes_another_run(tiny_host):
    positive, negative = sides()
    two = Prompts((PromptPart(positive, 1.0, 0.5), PromptPart(negative, 0.5, 0.0)))
    frame, part = torch.tensor([True, False, False]), torch.ones(1, 1, 3, 6, 8)
    inputs = [
        {},
        *({"prompts": (sides(2)[0], negative)}, {"prompts": (positive, sides(2)[1])}, {"prompts": (two, negative)}),
        *({"prompts": (Conditioning(positive.text, references=1), negative)}, {"latent": LATENT}, {"noise": LATENT}),
        *({"given": GivenFrames(LATENT, frame)}, {"given": GivenFrames(LATENT, ~frame)}),
        *({"given": NoisyRegion(LATENT, part, LATENT)}, {"given": NoisyRegion(LATENT, part / 2, LATENT)}),
        *({"given": HeldRegion(LATENT, part)}, {"given": HeldRegion(LATENT, part / 2)}),
        {"memory": MemorySettings(feed_forward_run=16)},
    ]
    keys = [key_of(tiny_host.runtime, **each) for each in inputs]
    assert len(set(keys)) == len(keys)


def test_references_and_poses_of_scail_make_another_run():
    """Those of equal values do not, whatever object they are."""
    text, picture = torch.zeros(1, 512, 8), torch.zeros(1, 16, 1, 6, 8)
    items = [
        *((ScailCharacter(picture),), (ScailCharacter(picture + 1),), (ScailCharacter(picture, places=REPLACEMENT),)),
        *((ScailCharacter(picture, picture),), (ScailCharacter(picture),) * 2, (KeptFrames(LATENT),)),
    ]
    poses = [ScailPose(LATENT), ScailPose(LATENT / 2), ScailPose(LATENT, LATENT)]
    prompts = [Conditioning(text, each) for each in ((), *items)]
    prompts += [Conditioning(text, in_context=(pose,)) for pose in poses]
    assert len({digest(prompt) for prompt in prompts}) == len(prompts)
    assert digest(prompts[1]) == digest(Conditioning(text.clone(), (ScailCharacter(picture.clone()),)))


def test_everything_of_a_model_makes_another_run(tiny_host, models, tmp_path):
    save_experts(models)
    lora = partial(LoraRecipe, lora_file(tmp_path))
    plain, high, low = load(), load(HIGH), load(LOW)
    policies = [
        {"guidance": CfgZeroStar},
        {"guidance": lambda scale: CFG(2 * scale)},
        {"places": TokenPlaces((0.5, 1.0, 1.0))},
    ]
    variants = [
        *(plain, high, load(precision="bf16"), load(attention="sdpa"), load(fp32_residual=True)),
        *(with_low_noise(high, low), with_low_noise(high, low, 2.0), with_low_noise(high, low, high_steps=1)),
        *(with_low_noise(plain, low), with_low_noise(high, with_lora(low, lora()), high_steps=1)),
        *(with_lora(plain, lora()), with_lora(plain, lora(strength=0.5)), with_lora(plain, lora(end=0.5))),
        *(with_lora(plain, lora(blocks=frozenset({1}))), with_lora(plain, lora(merge=True))),
        *(with_adapter(0.1), with_adapter(0.2), with_adapter(0.1, 0.5)),
        *(with_policies(plain, lambda old, each=each: replace(old, **each)) for each in policies),
    ]
    keys = [key_of(tiny_host.runtime, model) for model in variants]
    assert len(set(keys)) == len(keys)


def test_a_changed_file_makes_another_run(tiny_host, tmp_path, models):
    folder = tmp_path / "diffusion_models"
    folder.mkdir()
    weights = load_file(models / "diffusion_models" / "t2v.safetensors")
    save_file(weights, folder / "own.safetensors", TINY)
    tiny_host.folders = {"diffusion_models": [folder]}
    path, keys = lora_file(tmp_path), []
    for file in (None, folder / "own.safetensors", path):
        if file is not None:
            os.utime(file, ns=(1, 1))
        keys.append(key_of(tiny_host.runtime, with_lora(load("own.safetensors"), LoraRecipe(path))))
    assert len(set(keys)) == 3


def test_code_and_machine_make_another_run(tiny_host, monkeypatch):
    keys = [key_of(tiny_host.runtime)]
    monkeypatch.setattr(torch, "__version__", "2.99")
    keys.append(key_of(tiny_host.runtime))
    monkeypatch.setattr(identity, "_code", lambda: "another version of the pack")
    keys.append(key_of(tiny_host.runtime))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    keys.append(key_of(tiny_host.runtime))
    assert len(set(keys)) == 4


def test_memory_makes_none(tiny_host):
    settings = [MemorySettings(), MemorySettings(blocks_to_swap=2), MemorySettings(budget=Budget(size_bytes=10**10))]
    assert len({key_of(tiny_host.runtime, memory=each) for each in settings}) == 1


def test_the_same_in_another_process():
    code = (
        "from wan_director.engine.resuming.digest import digest\n"
        "from wan_director.sampling.guidance import CFG\nfrom wan_director.dit.rope import AS_TRAINED\n"
        "print(digest((CFG(3.0), AS_TRAINED, {'a': frozenset({'x', 'y', 'z'})}, CFG)))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")]  # fmt: skip
    assert runs[0] == runs[1] and len(runs[0].strip()) == 32


@dataclass
class Open:
    inside: object


@pytest.mark.parametrize("value", [object(), Open(object()), lambda: 1, partial(len, object()), {"a": iter(())}])
def test_what_cannot_be_told_apart_has_no_digest(value):
    with pytest.raises(NoDigest):
        digest(value)


def test_values_that_look_alike_have_other_digests():
    zeros = torch.zeros(4)
    alike = [
        *(0, 0.0, -0.0, False, None, "", "0", b"0" == b"1", ("0",), (("0",),), ("0", ""), {}, (), frozenset()),
        *(zeros, zeros.half(), zeros.reshape(2, 2), zeros.to(torch.int32), torch.float32, Open(0), Open("0")),
        *(Path("0"), {"a": 0, "b": 1}, {"a": "b"}, ("a", "b"), ("ab",), CFG, CFG(1.0), CFG(2.0), partial(CFG, 1.0)),
    ]
    seen = {digest(value): value for value in alike}
    assert len(seen) == len(alike) - 1  # False is there twice


def test_a_run_that_cannot_be_told_from_others_is_not_kept_and_says_so(kept, caplog):
    caplog.set_level("INFO", "wan_director")
    odd = with_policies(load(), lambda old: replace(old, guidance=lambda scale: Odd(scale)))
    stop_in_step(odd, 0)
    assert not kept.folder.path.exists()
    assert [line for line in caplog.messages if "broken off" in line] == [
        f"Where this run is broken off, it cannot be gone on with: it depends on {__name__}:Odd."
    ]


class Odd:
    """A guidance that says of itself nothing but its name."""

    def __init__(self, scale: float) -> None:
        self.asks, self.velocity = CFG(scale).asks, CFG(scale).velocity


def test_a_run_that_records_figures_of_all_its_steps_says_that_it_starts_anew(kept, caplog):
    caplog.set_level("INFO", "wan_director")
    told = []
    recording = with_policies(load(), lambda old: replace(old, cache=RatioRecorder(told.append)))
    stop_in_step(recording, 0)
    sample(recording)
    assert not kept.folder.path.exists() and [len(each) for each in told] == [SETTINGS.steps]
    assert [line for line in caplog.messages if "broken off" in line] == 2 * [
        "Where this run is broken off, it cannot be gone on with: it depends on figures of all its steps, which are "
        "recorded."
    ]
