"""Training against diffusers' transformer with PEFT's LoRA: the same weights, clips and noise, float32 on the CPU."""

from __future__ import annotations

import pytest
import torch
from wan_director.dit.adapters import AppliedAdapter, adapted, trainable_parameters
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import WanDiT
from wan_director.tuning.batch import TrainingBatch
from wan_director.tuning.learner import Learner, OptimiserSettings
from wan_director.tuning.loop import TrainingCourse, learn
from wan_director.tuning.new_adapter import AdapterSettings, new_adapter
from wan_director.tuning.noise import NoiseLevels
from wan_director.tuning.objective import flow_loss, seeded

from ..dit.conftest import build_diffusers, official_name

peft = pytest.importorskip("peft")

CONFIG = DiTConfig(dim=64, ffn_dim=96, heads=2, layers=2, text_dim=24, text_tokens=512)
LEVELS = NoiseLevels(shift=3.0)
SETTINGS = {"lora": AdapterSettings(rank=4, alpha=6.0), "dora": AdapterSettings(rank=4, alpha=6.0, kind="dora")}
LIMIT = 1e-5  # relative, float32: two orders of summation


def batch_of(step: int) -> TrainingBatch:
    generator = torch.Generator().manual_seed(step)
    latent = torch.randn(2, 16, 2, 4, 6, generator=generator)
    text = torch.randn(2, 512, 24, generator=generator)
    text[:, 9:] = 0
    return TrainingBatch(latent, Conditioning(text))


class Theirs:
    """diffusers' transformer with PEFT's adapter, whose factors begin as ours."""

    def __init__(self, settings: AdapterSettings, parameters) -> None:
        targets = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
        self.model = build_diffusers(CONFIG)
        self.model.add_adapter(
            peft.LoraConfig(
                r=settings.rank, lora_alpha=settings.alpha, target_modules=targets, use_dora=settings.kind == "dora"
            )
        )
        self.learned = {}
        for name, value in self.model.named_parameters():
            if not value.requires_grad:
                continue
            layer, _, role = name.partition(".lora_")
            factor = {"A": "down", "B": "up", "m": "magnitude"}[role[0]]
            self.learned[f"{official_name(layer)}.weight.{factor}"] = value
        assert self.learned.keys() == parameters.keys()
        for name, value in self.learned.items():
            start = parameters[name].detach().flatten() if name.endswith("magnitude") else parameters[name].detach()
            if name.endswith("magnitude"):
                torch.testing.assert_close(value.detach(), start)  # both begin at the rows of the matrix
            value.data.copy_(start)

    def __call__(self, inputs):
        return self.model(inputs.latent, inputs.timestep, inputs.text).sample


def ours() -> WanDiT:
    model = WanDiT(CONFIG).eval().requires_grad_(False)
    model.load_state_dict({official_name(name): value for name, value in build_diffusers(CONFIG).state_dict().items()})
    return model


def moved(learner: Learner) -> None:
    """Both factors away from zero, so that both have gradients."""
    for number, value in enumerate(trainable_parameters(learner.adapter).values()):
        noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(number))
        value.data.add_(0.02 * noise if value.shape[-1] != 1 else 0)


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_loss_and_the_gradients_of_a_step_are_those_of_peft(kind):
    model = ours()
    learner = Learner(new_adapter("a", model, SETTINGS[kind], 1), OptimiserSettings(), torch.device("cpu"))
    moved(learner)
    parameters = trainable_parameters(learner.adapter)
    theirs = Theirs(SETTINGS[kind], parameters)
    with adapted(model, [AppliedAdapter(learner.adapter)]):
        loss = flow_loss(model, batch_of(0), LEVELS, seeded(1))
        loss.backward()
    expected = flow_loss(theirs, batch_of(0), LEVELS, seeded(1))
    expected.backward()
    assert (loss - expected).abs() <= LIMIT * expected
    pairs = {name: (parameters[name].grad, value.grad) for name, value in theirs.learned.items()}
    if kind == "dora":  # PEFT holds the length of W + delta fixed in its gradient (the paper's section 4.3), ours not
        pairs = {name: pair for name, pair in pairs.items() if name.endswith("magnitude")}
    lengths = []
    for name, (found, wanted) in pairs.items():
        difference = (found.view(wanted.shape) - wanted).norm()
        # Queries of 512 texts have gradients that are small differences of large numbers: 5e-5 of their own length.
        assert difference <= 1e-4 * wanted.norm(), name
        lengths.append((difference, wanted.norm()))
    difference, whole = torch.tensor(lengths).norm(dim=0)
    assert difference <= LIMIT * whole


def test_twenty_steps_are_those_of_peft():
    """The curve of the loss to 1e-4: AdamW divides by the gradient's own size, which makes rounding count."""
    model, settings = ours(), OptimiserSettings(learning_rate=3e-3, warm_up=5, clip=1.0)
    learner = Learner(new_adapter("a", model, SETTINGS["lora"], 1), settings, torch.device("cpu"))
    theirs = Theirs(SETTINGS["lora"], trainable_parameters(learner.adapter))
    optimiser = torch.optim.AdamW(theirs.learned.values(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / 5))
    expected = []
    for step in range(20):
        loss = flow_loss(theirs, batch_of(step), LEVELS, seeded(0, step, 0, 0))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.learned.values(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        expected.append(float(loss.detach()))
    with adapted(model, [AppliedAdapter(learner.adapter)]):
        found = [
            each.loss
            for each in learn(model, learner, lambda step, _: [batch_of(step)], LEVELS, TrainingCourse(steps=20))
        ]
    assert len(found) == 20
    for mine, other in zip(found, expected):
        assert abs(mine - other) <= 1e-4 * other
