"""Samples while a training goes on: they change nothing of it, they are what the file gives, and the sheet goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from wan_director.__main__ import main
from wan_director.common.errors import InvalidInputError, OutOfMemory
from wan_director.engine import LoraRecipe, ModelRecipe, SamplerSettings, load_model, run_sampler, with_lora
from wan_director.engine.local import Interrupted, LocalRuntime
from wan_director.media.picture_reading import read_pictures
from wan_director.media.video_reading import probe_video
from wan_director.tuning.samples.sheet import shown_steps
from wan_director.tuning.settings import SampleSettings

from .made_models import image_model
from .test_training_run import MEMORY, MODELS, find, ready, settings_in

BUNDLED = "wan_director_tiny_demo_t2v.safetensors"
SAMPLES = """
[samples]
prompts = ["sks picture 0", "a red circle"]
every = 2
width = 64
height = 48
steps = 2
cfg = 3.0
seed = 5
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[list[float], bytes]:
    """The losses and the file of a training without samples."""
    training = ready(settings_in(tmp_path_factory.mktemp("plain")))
    losses = [step.loss for step in training.run()]
    return losses, training.target.read_bytes()


def cells(sheet: torch.Tensor, columns: int, rows: int = 2) -> list[list[torch.Tensor]]:
    """The samples of a sheet [1, H, W, 3] of clips of 64 x 48, enlarged 4 times, with their pixels."""
    height, width = 192 + 6, 256 + 6
    left, top = sheet.shape[2] - columns * width, sheet.shape[1] - rows * height
    return [
        [
            sheet[0, top + row * height :, left + column * width :][:192:4, :256:4]
            for column in range(columns)
        ]
        for row in range(rows)
    ]  # fmt: skip


def test_samples_change_nothing_of_what_is_learned(tmp_path, plain):
    """To the bit, with blocks that are swapped and inputs in RAM, too; the sheet has a column for each time."""
    memory = MEMORY.format(gigabytes=1, swapped=3, inputs=2, recompute="blocks")
    training = ready(settings_in(tmp_path, more=SAMPLES + memory))
    seen = []
    for _ in training.run():
        files = training.places.sheet.with_name("mine.samples.png")
        seen.append(read_pictures(files).pixels.shape[2] if files.is_file() else 0)
    losses, file = plain
    assert training.target.read_bytes() == file
    assert seen[0] == seen[1] < seen[2] == seen[3] < seen[4]  # before the first step, after 2 and after 4
    shown = cells(read_pictures(tmp_path / "out/mine.samples.png").pixels, columns=4)
    for row in shown:
        assert all(not torch.equal(one, other) for one, other in zip(row, row[1:]))


def test_the_last_column_is_what_the_file_gives(tmp_path):
    training = ready(settings_in(tmp_path, more=SAMPLES))
    list(training.run())
    runtime = LocalRuntime("cpu")
    base = load_model(ModelRecipe(find("diffusion_models", training.model.file), precision="fp32"), runtime)
    told, silence, family = training.samples.told, training.samples.silence, base.spec.family
    how = SamplerSettings(5, 2, 3.0, 5.0)
    shown = cells(read_pictures(tmp_path / "out/mine.samples.png").pixels, columns=4)
    with torch.no_grad():
        for model, column in ((base, 0), (with_lora(base, LoraRecipe(training.target)), 3)):
            for row, batch in enumerate(told):
                negative = type(batch.told)(silence)
                made = run_sampler(model, batch.told, negative, torch.zeros_like(batch.latent), how)
                vae = training.samples.vae
                (frame,) = vae.residence.module.decode(family.denormalize(made)).movedim(1, -1)[0]
                assert torch.equal(shown[row][column], ((frame + 1) / 2).clamp(0, 1).mul(255).round() / 255)


def test_a_training_that_is_broken_off_goes_on_with_its_sheet(tmp_path, plain):
    """Stopped inside of a step, and inside of a sample; the sheet and the file are those of an undisturbed one."""
    whole = ready(settings_in(tmp_path / "a", more=SAMPLES))
    list(whole.run())
    path = settings_in(tmp_path / "b", more=SAMPLES)
    training = ready(path)
    with pytest.raises(Interrupted):
        for step in training.run():
            training.model.runtime.interrupted = step.step == 3
    training = ready(path)
    with pytest.raises(Interrupted):
        for step in training.run():
            if step.step == 4:
                training.model.runtime.check_interrupt = _stop_after(8)
    made = ready(path)
    assert [step.step for step in made.run()] == [5]
    for name in ("mine.safetensors", "mine.samples.png"):
        assert (tmp_path / "a/out" / name).read_bytes() == (tmp_path / "b/out" / name).read_bytes()
    assert made.target.read_bytes() == plain[1]


def _stop_after(calls: int):
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise Interrupted

    return check


def test_clips_are_shown_in_a_video_beside_the_picture(tmp_path):
    more = SAMPLES.replace("steps = 2", "steps = 1").replace("every = 2", "every = 100\nframes = 5")
    list(ready(settings_in(tmp_path, more=more)).run())
    video = probe_video(tmp_path / "out/mine.samples.mp4")
    assert len(video.times) == 5 and video.fps == 8
    (sheet,) = read_pictures(tmp_path / "out/mine.samples.png").pixels
    assert (video.height, video.width) == tuple(side + side % 2 for side in sheet.shape[:2])


def test_a_model_that_is_told_frames_gets_those_of_its_clips(tmp_path):
    more = SAMPLES.replace("height = 48", "height = 32")
    path = settings_in(tmp_path, dataset='given = "first"', more=more)
    own = image_model(tmp_path / "image.safetensors")
    path.write_text(path.read_text(encoding="utf-8").replace(BUNDLED, str(own)), encoding="utf-8")
    training = ready(path)
    list(training.run())
    first, second = (batch.told.items[0].latent for batch in training.samples.told)
    assert first.shape == second.shape == training.samples.told[0].latent.shape and not torch.equal(first, second)
    assert (tmp_path / "out/mine.samples.png").is_file()


def test_a_sheet_shows_as_many_columns_as_it_has_room_for():
    made = list(range(0, 1001, 10))
    shown = shown_steps(made, 444)
    assert len(shown) == 8 and (shown[0], shown[-1]) == (0, 1000) and sorted(shown) == shown
    assert shown_steps([0, 5], 444) == [0, 5] and shown_steps(made, 9999) == [0, 1000]


def test_samples_that_cannot_be_are_refused(tmp_path):
    for values, message in (
        ({"every": 0}, "every 1 step or more"),
        ({"frames": 4}, r"1 \+ 4k frames"),
        ({"prompts": (1,)}, "are texts"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            SampleSettings(**values)
    with pytest.raises(InvalidInputError, match="64 x 50|50"):
        ready(settings_in(tmp_path, more=SAMPLES.replace("height = 48", "height = 50")))


def test_the_plan_tells_of_samples_that_take_more_than_the_training(tmp_path, capsys):
    more = SAMPLES.replace("width = 64", "width = 832").replace("height = 48", "height = 480")
    path = settings_in(tmp_path, more=more + "frames = 81\n")
    assert main(["plan", str(path), "--models", str(MODELS), "--vram", "8GB"]) == 0
    assert "of the device, more than the training itself: " in capsys.readouterr().out
    assert main(["plan", str(path), "--models", str(MODELS), "--vram", "1.09GB"]) == 1
    assert "[samples]: It does not fit into 90 MB: to " in capsys.readouterr().err
    text = path.read_text(encoding="utf-8")
    path.write_text(text + '[memory]\nbudget = "use at most"\ngigabytes = 0.1\n', encoding="utf-8")
    with pytest.raises(OutOfMemory, match=r"\[samples\]"):
        ready(path)


def test_a_file_of_other_settings_is_not_replaced(tmp_path, capsys, caplog):
    path = settings_in(tmp_path)
    words = ["train", str(path), "--models", str(MODELS), "--device", "cpu", "--quiet"]
    assert main(words) == 0
    target = tmp_path / "out/mine.safetensors"
    first, stamp = target.read_bytes(), target.stat().st_mtime_ns
    capsys.readouterr()
    assert main([each for each in words if each != "--quiet"]) == 0
    shown = capsys.readouterr()
    assert Path(shown.out.strip()) == target.resolve() and target.stat().st_mtime_ns == stamp
    assert "mine.safetensors is finished already: these very settings made it." in shown.err + caplog.text
    path.write_text(path.read_text(encoding="utf-8").replace("steps = 5", "steps = 4"), encoding="utf-8")
    assert main(words) == 1
    assert "already, which other settings made. Choose another name in [output]" in capsys.readouterr().err
    assert target.read_bytes() == first
    assert main([*words, "--overwrite"]) == 0
    assert target.read_bytes() != first
