"""A whole training of the bundled model: from settings and clips to the file; broken off, it ends the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from wan_director.__main__ import main
from wan_director.common.errors import InvalidInputError, MissingFileError, OutOfMemory
from wan_director.dit.adapters import ParameterShapes
from wan_director.engine.local import Interrupted, LocalRuntime
from wan_director.engine.runtime import LoadedModels
from wan_director.model_loading.lora import read_lora
from wan_director.tuning.beginning import prepare
from wan_director.tuning.datasets import PictureShape, clip_shape, read_clip, read_dataset
from wan_director.tuning.datasets.finding import clips_of
from wan_director.tuning.run import Training
from wan_director.tuning.settings import read_settings

pytest.importorskip("tomllib", reason="needs Python 3.11 or later")

MODELS = Path(__file__).parents[2] / "models"
SETTINGS = """
[model]
diffusion_model = "wan_director_tiny_demo_{task}.safetensors"
text_encoder = "wan_director_tiny_demo_text_encoder.safetensors"
vae = "wan_director_tiny_demo_vae.safetensors"
precision = "fp32"
[dataset]
source = "pictures"
resolution = [64, 48]
caption_drop = 0.3
{dataset}
[lora]
rank = 2
[training]
steps = 5
turns = 2
[output]
name = "mine"
folder = "out"
trigger = "sks"
save_every = 2
"""
PRIOR = """
[prior]
prompts = ["a red circle"]
width = 64
height = 48
steps = 1
"""


def settings_in(folder: Path, task: str = "t2v", dataset: str = "", more: str = "") -> Path:
    (folder / "pictures").mkdir(parents=True)
    for number, colour in enumerate([(200, 20, 20), (20, 60, 220)]):
        Image.new("RGB", (80, 60 + 20 * number), colour).save(folder / "pictures" / f"{number}.png")
        (folder / "pictures" / f"{number}.txt").write_text(f"sks picture {number}\n", encoding="utf-8")
    path = folder / "mine.toml"
    path.write_text(SETTINGS.format(task=task, dataset=dataset) + more, encoding="utf-8")
    return path


def find(kind: str, name: str) -> Path:
    return MODELS / kind / name


def ready(path: Path) -> Training:
    return prepare(read_settings(path), LocalRuntime("cpu"), find)


def test_a_training_that_is_broken_off_ends_with_the_same_file(tmp_path):
    """To the bit, with a prior, two turns a step and captions that are left out; the cache is the same too."""
    whole = ready(settings_in(tmp_path / "a", more=PRIOR))
    losses = [step.loss for step in whole.run()]
    assert len(losses) == 5 and all(loss > 0 for loss in losses)
    path = settings_in(tmp_path / "b", more=PRIOR)
    for _, step in zip(range(4), ready(path).run()):  # ends after the step that follows the second save
        last = step
    assert last.step == 4 and (tmp_path / "b/out/mine.training.safetensors").is_file()
    rest = list(ready(path).run())
    assert [step.step for step in rest] == [5] and rest[0].loss == losses[4]
    assert (tmp_path / "b/out/mine.safetensors").read_bytes() == whole.target.read_bytes()
    assert not (tmp_path / "b/out/mine.training.safetensors").exists()


def test_a_training_that_is_stopped_goes_on_after_its_last_whole_step(tmp_path):
    whole = ready(settings_in(tmp_path / "a"))
    losses = [step.loss for step in whole.run()]
    path = settings_in(tmp_path / "b")
    path.write_text(path.read_text(encoding="utf-8").replace("save_every = 2", "save_every = 100"), encoding="utf-8")
    training = ready(path)
    with pytest.raises(Interrupted):
        for step in training.run():
            if step.step == 3:
                training.model.runtime.interrupted = True
    rest = list(ready(path).run())
    assert [step.loss for step in rest] == losses[3:]
    assert (tmp_path / "b/out/mine.safetensors").read_bytes() == whole.target.read_bytes()


MEMORY = """
[memory]
budget = "use at most"
gigabytes = {gigabytes}
blocks_to_swap = {swapped}
inputs_in_ram = {inputs}
recompute = "{recompute}"
"""


def test_a_training_whose_blocks_and_inputs_leave_the_device_ends_with_the_same_file(tmp_path, caplog):
    """To the bit; broken off in one arrangement, it goes on in another."""
    whole = ready(settings_in(tmp_path / "a"))
    losses = [step.loss for step in whole.run()]
    first = MEMORY.format(gigabytes=1, swapped=5, inputs=4, recompute="parts")
    path = settings_in(tmp_path / "b", more=first)
    training = ready(path)
    plan = training.arrangement.plan
    assert (plan.choice.swapped, plan.in_ram, plan.part_checkpoints) == (5, 4, True)
    assert "5 of 5 blocks are swapped, the inputs of 4 wait in RAM, blocks are run again part by part." in plan.words
    begun = [step.loss for _, step in zip(range(3), training.run())]
    second = MEMORY.format(gigabytes=2, swapped=3, inputs=1, recompute="blocks")
    path.write_text(path.read_text(encoding="utf-8").replace(first, second), encoding="utf-8")
    rest = [step.loss for step in ready(path).run()]
    assert begun == losses[:3] and rest == losses[-len(rest) :] and len(rest) < 5
    assert (tmp_path / "b/out/mine.safetensors").read_bytes() == whole.target.read_bytes()


def test_a_training_that_does_not_fit_is_refused_before_anything_is_loaded(tmp_path):
    more = MEMORY.format(gigabytes=0.001, swapped=-1, inputs=-1, recompute="auto")
    settings = read_settings(settings_in(tmp_path, more=more))

    class Empty(LoadedModels):
        def once(self, key: Hashable, load: Callable[[], object]) -> object:
            pytest.fail("the plan comes before the models")

    with pytest.raises(OutOfMemory, match=r"does not fit into 1 MB: to train takes .* at least"):
        prepare(settings, LocalRuntime("cpu", models=Empty()), find)


def test_the_plan_sees_clips_in_the_size_that_they_are_learned_in(tmp_path):
    settings_in(tmp_path)
    (part,) = read_dataset(tmp_path / "pictures", PictureShape(64, 48))
    for clip in clips_of(part):
        frames, height, width, _ = read_clip(clip, part, 16).shape
        assert clip_shape(clip, part, 16) == (frames, height, width)


def test_the_command_trains_and_prints_the_path(tmp_path, capsys):
    path = settings_in(tmp_path)
    assert main(["train", str(path), "--models", str(MODELS), "--device", "cpu", "--quiet"]) == 0
    printed = Path(capsys.readouterr().out.strip())
    assert printed == (tmp_path / "out" / "mine.safetensors").resolve()
    with safe_open(printed, "pt") as file:
        assert file.metadata()["wan_director.trigger"] == "sks" and file.metadata()["ss_steps"] == "5"
        names = set(file.keys())
    assert "lora_unet_blocks_0_self_attn_q.lora_down.weight" in names and len(names) == 5 * 10 * 3
    module = ready(path).model.residence.module
    assert len(read_lora(printed, ParameterShapes.of(module), model=None).adapter.changes) == 50


def test_clips_without_captions_are_told(tmp_path, caplog):
    path = settings_in(tmp_path)
    ready(path)
    assert "caption" not in caplog.text
    (tmp_path / "pictures/1.txt").write_text("\n", encoding="utf-8")
    ready(path)
    assert "1 of 2 clips has an empty caption, as 1.png: what it shows is learned for every prompt." in caplog.text


def test_settings_that_cannot_be_are_refused(tmp_path):
    path = settings_in(tmp_path)
    text = path.read_text(encoding="utf-8")
    for old, new, message in (
        ("rank = 2", "rang = 2", r"\[lora\] of mine.toml has \['rang'\], but known are rank"),
        (
            "rank = 2",
            'rank = "2"',
            r"rank in \[lora\] of mine.toml is '2', but it is to be a whole number. Correct it there",
        ),
        ("rank = 2", "alpha = '2'", "'2', but it is to be a number"),
        ("rank = 2", "norms = 1", "1, but it is to be true or false"),
        ("resolution = [64, 48]", "resolution = 64", r"64, but it is to be a list in \[brackets\]"),
        ('name = "mine"', "name = 5", 'name in .* is 5, but it is to be a text in "quotes"'),
        ("[lora]", "[Lora]", r"has sections \['Lora'\]"),
        ('name = "mine"', "", r"\[output\] of mine.toml lacks name. Add it"),
        ("steps = 5", "steps = 0", "1 step or more"),
        ("caption_drop = 0.3", 'given = "first"', "takes no frames, but given is 'first'"),
    ):
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(InvalidInputError, match=message):
            ready(path)
    path.write_text(text.replace('"pictures"', '"nowhere"'), encoding="utf-8")
    with pytest.raises(MissingFileError, match="There is no dataset"):
        prepare(read_settings(path), LocalRuntime("cpu"), lambda *_: pytest.fail("models come after the dataset"))
    path.write_text(text, encoding="utf-8")
    (tmp_path / "pictures/1.txt").unlink()
    with pytest.raises(InvalidInputError, match="1.png has no caption: write what it shows into 1.txt"):
        ready(path)


def test_a_table_in_the_form_of_musubi_tuner_is_read(tmp_path):
    settings_in(tmp_path)
    (tmp_path / "lines.jsonl").write_text(
        json.dumps({"image_path": "pictures/1.png", "caption": "one"}) + "\n", encoding="utf-8"
    )
    table = tmp_path / "dataset.toml"
    table.write_text(
        '[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\nbatch_size = 2\nenable_bucket = true\n'
        'bucket_no_upscale = true\n[[datasets]]\nimage_directory = "pictures"\nnum_repeats = 3\n'
        '[[datasets]]\nimage_jsonl_file = "lines.jsonl"\nbatch_size = 1\nenable_bucket = false\n',
        encoding="utf-8",
    )
    first, second = read_dataset(table, PictureShape(1, 1))
    assert (first.batch_size, first.num_repeats, first.may_enlarge, second.batch_size) == (2, 3, False, 1)
    assert [clip.caption for clip in clips_of(first)] == ["sks picture 0", "sks picture 1"]
    (only,) = clips_of(second)
    assert only.caption == "one" and read_clip(only, second, 16).shape == (1, 64, 64, 3)
    shapes = [read_clip(clip, first, 16).shape for clip in clips_of(first)]
    assert all(height * width <= 64 * 64 and not (height % 16 or width % 16) for _, height, width, _ in shapes)
    table.write_text(table.read_text(encoding="utf-8") + "fp_1f_target_index = 9\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="asks for fp_1f_target_index, which this trainer does not know"):
        read_dataset(table, PictureShape(1, 1))


def test_kept_latents_are_what_the_encoder_gives(tmp_path):
    path = settings_in(tmp_path)
    first = ready(path).clips.batch(0)
    files = sorted((tmp_path / "out/cache").iterdir())
    stamps = [file.stat().st_mtime_ns for file in files]
    again = ready(path).clips.batch(0)
    assert torch.equal(first.latent, again.latent) and torch.equal(first.told.text, again.told.text)
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "out/cache").iterdir())] == stamps
    assert len(files) == 5  # two pictures, two captions and the empty one


def test_the_example_of_the_guide_is_ready_to_run():
    example = Path(__file__).parents[2] / "docs/example_training/livery.toml"
    settings = read_settings(example)
    (part,) = read_dataset(example.parent / settings.dataset.source, PictureShape(1, 1))
    assert [clip.caption for clip in clips_of(part)] == [
        "a sks circle", "a sks square", "a sks triangle", "a sks circle",
    ]  # fmt: skip
    files = {"diffusion_models": settings.model.diffusion_model, "vae": settings.model.vae}
    assert all(find(kind, name).is_file() for kind, name in files.items()) and len(settings.prior.prompts) == 28
