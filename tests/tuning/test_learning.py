"""Noise levels, new adapters, the learner that goes on to the bit, and the file that comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from wan_director.common.errors import InvalidInputError, NumericalError
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted, trainable_parameters
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.lora import read_lora
from wan_director.tuning.batch import TrainingBatch, joined
from wan_director.tuning.learner import Learner, OptimiserSettings
from wan_director.tuning.loop import TrainingCourse, learn
from wan_director.tuning.new_adapter import AdapterSettings, new_adapter
from wan_director.tuning.noise import NoiseLevels
from wan_director.tuning.objective import flow_loss, seeded
from wan_director.tuning.saving import file_tensors, save_lora

CONFIG = DiTConfig(dim=48, ffn_dim=64, heads=4, layers=2, text_dim=24, text_tokens=8, freq_dim=32)
CPU = torch.device("cpu")


def model() -> WanDiT:
    torch.manual_seed(0)
    return WanDiT(CONFIG).eval().requires_grad_(False)


def batch_of(step: int, turn: int = 0) -> list[TrainingBatch]:
    generator = torch.Generator().manual_seed(10 * step + turn)
    latent = torch.randn(1, 16, 3, 4, 4, generator=generator)
    return [TrainingBatch(latent, Conditioning(torch.randn(1, 8, 24, generator=generator)))]


def inputs() -> DitInputs:
    (batch,) = batch_of(99)
    return batch.told.inputs(batch.latent, torch.tensor([500.0]))


def trained(steps: int, learner: Learner, course: TrainingCourse) -> list[float]:
    base = model()
    with adapted(base, [AppliedAdapter(learner.adapter)]):
        made = learn(lambda each: base(each, Execution(checkpoints=True)), learner, batch_of, NoiseLevels(), course)
        return [step.loss for _, step in zip(range(steps - learner.step), made)]


@pytest.mark.parametrize("kind", ["uniform", "logit_normal"])
@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_a_range_of_noise_is_what_redrawing_gives(kind, shift):
    """The quantiles within 0.875..1 of those drawn there and of all that were drawn agree: the form stays."""
    whole = NoiseLevels(kind, shift).draw(200_000, seeded(1))
    part = NoiseLevels(kind, shift, 0.875, 1.0).draw(20_000, seeded(2))
    assert float(part.min()) >= 0.875 and float(part.max()) <= 1.0
    within, at = whole[whole >= 0.875], torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(part.quantile(at), within[:100_000].quantile(at), atol=4e-3, rtol=0)


def test_a_weighting_leaves_the_mean_of_the_loss_as_it_is():
    sigma = torch.linspace(0, 1, 100_001)
    for weighting in ("none", "bell", "cosmap"):
        assert abs(float(NoiseLevels(weighting=weighting).weights(sigma).mean()) - 1) < 1e-4


@pytest.mark.parametrize("settings", [AdapterSettings(rank=4), AdapterSettings(kind="dora", norms=True, biases=True)])
def test_a_new_adapter_changes_nothing(settings):
    """To the bit for factors and differences; DoRA divides by the length that it multiplies with."""
    base = model()
    with torch.no_grad():
        plain = base(inputs())
        with adapted(base, [AppliedAdapter(new_adapter("a", base, settings, 1))]):
            found = base(inputs())
    assert torch.equal(found, plain) if settings.kind == "lora" else (found - plain).norm() <= 1e-6 * plain.norm()


@pytest.mark.parametrize("broken_off", [1, 4])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_learner_that_is_restored_goes_on_to_the_bit(broken_off, average):
    adapter = new_adapter("a", model(), AdapterSettings(rank=4), 1)
    settings, course = OptimiserSettings(learning_rate=1e-2, warm_up=3, average=average), TrainingCourse(6, turns=2)
    whole = Learner(adapter, settings, CPU)
    losses = trained(6, whole, course)
    first = Learner(adapter, settings, CPU)
    trained(broken_off, first, course)
    kept = {name: tensor.clone() for name, tensor in first.tensors().items()}
    second = Learner(adapter, settings, CPU)
    second.restore(kept)
    assert trained(6, second, course) == losses[broken_off:]
    found, expected = (file_tensors(each.learned()) for each in (second, whole))
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    start = file_tensors(adapter)
    assert any(not torch.equal(found[name], start[name]) for name in found)


@pytest.mark.parametrize(
    "settings", [AdapterSettings(rank=4, alpha=2.0), AdapterSettings(rank=4, kind="dora", norms=True, biases=True)]
)
def test_the_file_does_what_was_learned(tmp_path, settings):
    """Our loader gives the adapter that was trained, to the bit."""
    learner = Learner(new_adapter("a", model(), settings, 1), OptimiserSettings(learning_rate=1e-2), CPU)
    trained(3, learner, TrainingCourse(3))
    save_lora(learner.learned(), tmp_path / "a.safetensors", {})
    base = model()
    loaded = read_lora(tmp_path / "a.safetensors", ParameterShapes.of(base), model=None)
    with torch.no_grad():
        plain = base(inputs())
        with adapted(base, [AppliedAdapter(learner.learned())]):
            expected = base(inputs())
        with adapted(base, [AppliedAdapter(loaded.adapter)]):
            found = base(inputs())
    assert torch.equal(found, expected) and not torch.equal(found, plain)


def test_clips_side_by_side_are_as_each_by_itself():
    """The loss of two clips is the mean of theirs, with the same noise."""
    base, levels = model(), NoiseLevels()
    both = joined([*batch_of(0), *batch_of(1)])
    with torch.no_grad():
        found = flow_loss(base, both, levels, seeded(5))
        sigma, noise = levels.draw(2, generator := seeded(5)), torch.randn(both.latent.shape, generator=generator)
        losses = [
            (base(each.told.inputs(each.latent + s * (n - each.latent), 1000 * s.view(1))) - (n - each.latent)).square()
            for (each,), s, n in zip((batch_of(0), batch_of(1)), sigma, noise.split(1))
        ]
    torch.testing.assert_close(found, sum(each.mean() for each in losses) / 2, rtol=1e-5, atol=0)


def test_given_frames_are_seen_clean_and_do_not_count():
    (batch,) = batch_of(0)
    given = TrainingBatch(batch.latent, batch.told, torch.tensor([True, False, False]))
    seen = []

    def predict(asked: DitInputs) -> torch.Tensor:
        seen.append(asked)
        wrong = torch.zeros_like(asked.latent)
        wrong[:, :, 0] = 1e6
        return wrong

    loss = flow_loss(predict, given, NoiseLevels(), seeded(1))
    assert torch.equal(seen[0].latent[:, :, 0], batch.latent[:, :, 0])
    assert float(seen[0].timestep[0, 0]) == 0.0 < float(seen[0].timestep[0, 1])
    assert float(loss) < 100


def test_what_cannot_be_is_refused():
    with pytest.raises(InvalidInputError, match="lowest below the highest, got 0.9 and 0.5"):
        NoiseLevels(lowest=0.9, highest=0.5)
    with pytest.raises(InvalidInputError, match="rank of 1 or more and an alpha above 0, got 0 and 16"):
        AdapterSettings(rank=0)
    with pytest.raises(InvalidInputError, match="learning rate is above 0"):
        OptimiserSettings(learning_rate=0.0)
    learner = Learner(new_adapter("a", model(), AdapterSettings(), 1), OptimiserSettings(), CPU)
    value = next(iter(trainable_parameters(learner.adapter).values()))
    with pytest.raises(NumericalError, match="loss of step 1 is NaN"):
        next(
            learn(
                lambda each: each.latent * value.sum() * torch.nan, learner, batch_of, NoiseLevels(), TrainingCourse(1)
            )
        )


def test_folder_of_the_file_is_made(tmp_path: Path):
    save_lora(new_adapter("a", model(), AdapterSettings(), 1), tmp_path / "new" / "a.safetensors", {"ss_tag": "x"})
    assert (tmp_path / "new" / "a.safetensors").stat().st_size > 1000
