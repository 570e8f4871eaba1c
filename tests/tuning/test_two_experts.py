"""Two experts in one training: each in its range of noise and its own file; broken off in either, it ends the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from wan_director.__main__ import main
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.engine import LoraRecipe, ModelRecipe, load_model, with_lora, with_low_noise
from wan_director.engine.local import LocalRuntime
from wan_director.media.picture_reading import read_pictures
from wan_director.tuning.beginning import named_trainings, prepare
from wan_director.tuning.settings import read_settings

from .made_models import expert_models
from .test_samples import BUNDLED, SAMPLES, cells
from .test_training_run import MODELS, PRIOR, find, settings_in

FILES = ("mine_high_noise.safetensors", "mine_low_noise.safetensors")


@pytest.fixture(scope="module")
def experts(tmp_path_factory) -> tuple[Path, Path]:
    return expert_models(tmp_path_factory.mktemp("experts"))


def pair_settings(folder: Path, experts: tuple[Path, Path], more: str = "") -> Path:
    path = settings_in(folder, more=more)
    high, low = experts
    text = path.read_text(encoding="utf-8").replace(f'"{BUNDLED}"', f'"{high}"\nlow_noise_model = "{low}"')
    path.write_text(text, encoding="utf-8")
    return path


def learned(path: Path) -> list[list[float]]:
    """The losses of both trainings, one after the other."""
    named = named_trainings(read_settings(path), find)
    return [[step.loss for step in each.prepare(LocalRuntime("cpu")).run()] for each in named]


def test_a_pair_that_is_broken_off_in_its_second_training_ends_with_the_same_files(tmp_path, experts, capsys):
    """To the bit, with a prior that both make together; what the first made is not made again."""
    losses = learned(pair_settings(tmp_path / "a", experts, more=PRIOR))
    assert len(losses[0]) == len(losses[1]) == 5 and losses[0] != losses[1]
    path = pair_settings(tmp_path / "b", experts, more=PRIOR)
    first, second = named_trainings(read_settings(path), find)
    list(first.prepare(LocalRuntime("cpu")).run())
    stamp = first.places.target.stat().st_mtime_ns
    for _, step in zip(range(4), second.prepare(LocalRuntime("cpu")).run()):
        assert step.loss == losses[1][step.step - 1]
    assert first.is_finished() and not second.is_finished()
    assert main(["train", str(path), "--device", "cpu", "--quiet"]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.split()] == list(FILES)
    assert first.places.target.stat().st_mtime_ns == stamp
    for name in FILES:
        assert (tmp_path / "a/out" / name).read_bytes() == (tmp_path / "b/out" / name).read_bytes()


def test_each_learns_in_its_range_and_says_which_model_it_belongs_to(tmp_path, experts):
    path = pair_settings(tmp_path, experts)
    text = path.read_text(encoding="utf-8")
    high, low = named_trainings(read_settings(path), find)
    assert [each.settings.noise.lowest for each in (high, low)] == [0.875, 0.0]
    assert [each.settings.noise.highest for each in (high, low)] == [1.0, 0.875]
    path.write_text(text.replace("low_noise_model", "boundary = 0.6\nlow_noise_model") + "[noise]\nlowest = 0.2\n")
    high, low = named_trainings(read_settings(path), find)
    ranges = [(each.settings.noise.lowest, each.settings.noise.highest) for each in (high, low)]
    assert ranges == [(0.6, 1.0), (0.2, 0.6)]
    learned(path)
    for name, model in zip(FILES, experts):
        with safe_open(tmp_path / "out" / name, "pt") as file:
            assert file.metadata()["ss_sd_model_name"] == model.name


def test_samples_of_the_second_are_those_of_both_files(tmp_path, experts):
    more = SAMPLES.replace("every = 2", "every = 100").replace("steps = 2", "steps = 4")
    path = pair_settings(tmp_path, experts, more=more)
    for each in named_trainings(read_settings(path), find):
        training = each.prepare(LocalRuntime("cpu"))
        list(training.run())
    runtime = LocalRuntime("cpu")
    models = [load_model(ModelRecipe(path, precision="fp32"), runtime) for path in experts]
    taught = [with_lora(model, LoraRecipe(tmp_path / "out" / name)) for model, name in zip(models, FILES)]
    shown = cells(read_pictures(tmp_path / "out/mine_low_noise.samples.png").pixels, columns=2)
    made = training.samples._cell(0, with_low_noise(*taught))
    assert torch.equal(shown[0][1], made[0].float() / 255)
    assert not torch.equal(made, training.samples._cell(0, with_low_noise(*models)))
    before = training.samples._cell(0, with_low_noise(taught[0], models[1]))  # the first has learned already
    assert torch.equal(shown[0][0], before[0].float() / 255)


def test_a_pair_is_planned_one_model_at_a_time(tmp_path, experts, capsys):
    path = pair_settings(tmp_path, experts)
    assert main(["plan", str(path), "--vram", "8GB"]) == 0
    pair = capsys.readouterr().out
    path.write_text(path.read_text(encoding="utf-8").replace(f'low_noise_model = "{experts[1]}"\n', ""))
    assert main(["plan", str(path), "--vram", "8GB"]) == 0
    alone = capsys.readouterr().out
    words = "Two experts learn one after the other: one of them is on the device at a time."
    assert pair.splitlines()[:-1] == alone.splitlines() and pair.splitlines()[-1] == words


def test_pairs_that_cannot_be_are_refused(tmp_path, experts):
    high, low = experts
    with pytest.raises(PairingError, match="low-noise expert by its name"):
        named_trainings(read_settings(pair_settings(tmp_path / "a", (low, high))), find)
    path = pair_settings(tmp_path / "b", experts)
    with pytest.raises(InvalidInputError, match="two experts, which are two trainings"):
        prepare(read_settings(path), LocalRuntime("cpu"), find)
    text = path.read_text(encoding="utf-8")
    for old, new, message in (
        (f'low_noise_model = "{low}"', "boundary = 0.9", "a boundary of 0.9 and one model alone"),
        ("low_noise_model", "boundary = 1.5\nlow_noise_model", "noise between 0 and 1, got 1.5"),
    ):
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(InvalidInputError, match=message):
            read_settings(path)
    path.write_text(text + "[noise]\nlowest = 0.9\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="lowest below the highest, got 0.9 and 0.875"):
        named_trainings(read_settings(path), find)


def test_the_bundled_model_is_found_without_folders(tmp_path):
    """Names that settings of one model use go on to work."""
    (only,) = named_trainings(read_settings(settings_in(tmp_path)), find)
    assert only.run.partner is None and only.places.target.name == "mine.safetensors"
    assert only.run.model == MODELS / "diffusion_models" / BUNDLED
