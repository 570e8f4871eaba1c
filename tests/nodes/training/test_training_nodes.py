"""Wan Dataset and Wan Train LoRA: the same training as the command line's, inside of a host's inference mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import wan_director
from PIL import Image
from safetensors import safe_open
from wan_director.common.errors import InvalidInputError, MissingFileError, OutputError
from wan_director.engine.local import LocalRuntime
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import host, hosted_by
from wan_director.tuning.beginning import prepare
from wan_director.tuning.settings import read_settings

NODES = wan_director.NODE_CLASS_MAPPINGS
MODELS = Path(wan_director.__file__).parent / "models"
TINY = "wan_director_tiny_demo_{}.safetensors"
CLIPS = {
    "width": 64, "height": 48, "frames": "", "repeats": 1, "prior": "", "batch_size": 1, "buckets": True,
    "enlarge": True, "extraction": "head", "fps": 0.0, "caption_ending": ".txt",
}  # fmt: skip
CONFIG = """
[model]
diffusion_model = "wan_director_tiny_demo_t2v.safetensors"
text_encoder = "wan_director_tiny_demo_text_encoder.safetensors"
vae = "wan_director_tiny_demo_vae.safetensors"
precision = "fp32"
[dataset]
source = "pictures"
resolution = [64, 48]
caption_drop = 0.3
[lora]
rank = 2
[training]
steps = 4
[output]
name = "mine"
trigger = "sks"
save_every = 2
[prior]
prompts = ["a red circle"]
width = 64
height = 48
steps = 1
"""


@pytest.fixture
def here(tmp_path):
    """A host whose results go to a folder of the test, in a host's mode."""
    runtime = LocalRuntime("cpu")
    mine = HeadlessHost(inputs=(tmp_path,), output=tmp_path / "out", runtime=runtime)
    with hosted_by(mine), torch.inference_mode():
        yield mine


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, colour in enumerate([(200, 20, 20), (20, 60, 220)]):
        Image.new("RGB", (80, 60 + 20 * number), colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"sks picture {number}\n", encoding="utf-8")
    return folder


def dataset(source: str = "pictures", **changes):
    return NODES["WanDirectorDataset"].execute(source=source, **{**CLIPS, **changes})


def models(task: str = "t2v", precision: str = "fp32"):
    load = {"precision": precision, "attention": "auto"}
    model = NODES["WanDirectorLoadModel"].execute(model_name=TINY.format(task), **load).args[0]
    text = NODES["WanDirectorLoadTextEncoder"].execute(
        text_encoder_name=TINY.format("text_encoder"), precision="auto", device="auto"
    )
    vae = NODES["WanDirectorLoadVAE"].execute(vae_name=TINY.format("vae"), precision="auto")
    return {"model": model, "text_encoder": text.args[0], "vae": vae.args[0]}


def widgets(**changes):
    info = NODES["WanDirectorTrainLora"].GET_NODE_INFO_V1()["input"]["required"]
    defaults = {name: spec[1]["default"] for name, spec in info.items() if "default" in (*spec, {})[1]}
    small = {"name": "mine", "steps": 4, "rank": 2, "caption_drop": 0.3, "save_every": 2, "trigger": "sks"}
    return {**defaults, **small, **changes}


def train(data=None, given_models=None, **changes):
    data = dataset().args[0] if data is None else data
    return (
        NODES["WanDirectorTrainLora"]
        .execute(**(models() if given_models is None else given_models), dataset=data, **widgets(**changes))
        .args
    )


def empty_latent(given, frames: int):
    return (
        NODES["WanDirectorEmptyLatent"]
        .execute(vae=given["vae"], width=64, height=48, frames=frames, batch_size=1)
        .args[0]
    )


PRIOR = {"prior_prompts": "a red circle\n\n", "prior_width": 64, "prior_height": 48, "prior_steps": 1}


def test_the_node_makes_the_file_of_the_command_to_the_bit(here, pictures, tmp_path):
    name, curve = train(**PRIOR)
    assert name == "mine.safetensors" and curve.shape == (1, 432, 768, 3) and 0 <= curve.min() < curve.max() <= 1
    (tmp_path / "mine.toml").write_text(CONFIG, encoding="utf-8")
    with torch.inference_mode(False):
        training = prepare(
            read_settings(tmp_path / "mine.toml"), LocalRuntime("cpu"), lambda kind, name: MODELS / kind / name
        )
        list(training.run())
    assert (tmp_path / "out/loras/mine.safetensors").read_bytes() == training.target.read_bytes()
    assert [file.name for file in (tmp_path / "out/loras").iterdir()] == ["mine.safetensors"]


def test_the_name_goes_into_wan_lora_and_changes_the_video(here, pictures):
    name, _ = train(steps=8, learning_rate=0.05)
    given = models()
    assert name in host().model_files("loras")
    prompts = (
        NODES["WanDirectorTextEncode"]
        .execute(text_encoder=given["text_encoder"], positive="sks picture 0", negative="")
        .args
    )
    latent = empty_latent(given, 1)
    how = {"seed": 1, "steps": 2, "cfg": 1.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
    made = []
    for strength in (None, 0.0, 1.0):
        model = given["model"]
        if strength is not None:
            assert NODES["WanDirectorLora"].validate_inputs(lora_name=name)
            options = {"blocks": "all", "start_percent": 0.0, "end_percent": 1.0, "merge": False}
            model = NODES["WanDirectorLora"].execute(model=model, lora_name=name, strength=strength, **options).args[0]
        sampled = NODES["WanDirectorSampler"].execute(
            model=model, positive=prompts[0], negative=prompts[1], latent=latent, **how
        )
        made.append(sampled.args[0]["samples"])
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


@pytest.mark.parametrize("precision", ["fp32", "fp8_scaled", "fp8_e4m3fn"])
def test_a_model_that_sampled_before_is_trained_as_a_fresh_one(here, pictures, precision):
    """What sampling left in memory in inference mode, tables included, takes no part in gradients."""
    given = models(precision=precision)
    first = train(given_models=given, name="fresh")
    assert first[0] == "fresh.safetensors"
    prompts = (
        NODES["WanDirectorTextEncode"]
        .execute(text_encoder=given["text_encoder"], positive="a red circle", negative="")
        .args
    )
    latent = empty_latent(given, 5)
    NODES["WanDirectorSampler"].execute(
        model=given["model"], positive=prompts[0], negative=prompts[1], latent=latent, seed=1, steps=1, cfg=2.0,
        shift=5.0, solver="euler", schedule="simple", denoise=1.0,
    )  # fmt: skip
    train(given_models=given, name="later")
    folder = here.trained_folder()
    ours = [(folder / f"{name}.safetensors").read_bytes() for name in ("fresh", "later")]
    assert ours[0].replace(b'"fresh"', b'"later"') == ours[1]


class Cancelled(BaseException):
    """As ComfyUI 0.33's own stop, which is no `Exception`."""


def test_a_training_that_is_cancelled_goes_on_and_ends_with_the_same_file(here, pictures):
    _, whole = train(name="whole", save_every=100)
    given = models()
    stopped_after = []

    class Stopping(LocalRuntime):
        def check_interrupt(self) -> None:
            stopped_after.append(1)
            if len(stopped_after) == 14:  # inside of a later step
                raise Cancelled

    stopping = Stopping("cpu")
    placed = replace(given["model"].placed, runtime=stopping)
    with pytest.raises(Cancelled):
        train(given_models={**given, "model": replace(given["model"], placed=placed)}, name="parts", save_every=100)
    assert not (here.trained_folder() / "parts.safetensors").exists()
    (state,) = (here.own_folder() / "training").glob("parts*")
    with safe_open(state, "pt") as file:
        assert 0 < file.get_tensor("step") < 4
    _, curve = train(given_models=given, name="parts", save_every=100)
    ours = [(here.trained_folder() / f"{each}.safetensors").read_bytes() for each in ("whole", "parts")]
    assert ours[0].replace(b'"whole"', b'"parts"') == ours[1]
    assert torch.equal(curve[:, 40:], whole[:, 40:])  # below the name
    assert not state.exists()


def test_a_file_of_the_same_training_is_used_and_another_one_is_not_replaced(here, pictures, caplog):
    name, curve = train()
    stamp = (here.trained_folder() / name).stat().st_mtime_ns
    again, same = train()
    assert again == name and torch.equal(curve, same)
    assert (here.trained_folder() / name).stat().st_mtime_ns == stamp
    with pytest.raises(OutputError, match="a file mine.safetensors in models/loras already, which another training"):
        train(steps=3)
    (pictures / "0.txt").write_text("another caption", encoding="utf-8")
    with pytest.raises(OutputError, match="Choose another name, or switch replace on"):
        train()
    train(steps=3, replace=True)
    assert (here.trained_folder() / name).stat().st_mtime_ns != stamp


def test_the_dataset_says_what_it_found(here, pictures):
    clips, found = dataset().args
    assert found == "2 pictures in pictures: 2 of 64x48"
    (pictures / "1.txt").write_text("", encoding="utf-8")
    _, found = dataset(repeats=3, prior=str(pictures), more=clips).args
    assert found.splitlines() == [
        "2 pictures in pictures 3 times a round: 2 of 64x48; 1 without a caption",
        "2 pictures in pictures: 2 of 64x48; 1 without a caption",
        "To stay as they are: 2 pictures in pictures 3 times a round: 2 of 64x48; 1 without a caption",
    ]


def test_an_example_of_the_pack_is_found_by_its_name(here):
    _, found = dataset("example_training/dataset.toml").args
    assert found.splitlines() == [
        "4 pictures in pictures: 4 of 64x64",
        "dataset.toml says sizes, lengths, repeats and batches; the widgets do not.",
    ]


def test_clips_that_are_to_stay_are_learned_from(here, pictures, tmp_path):
    general = tmp_path / "general"
    general.mkdir()
    Image.new("RGB", (64, 64), (0, 200, 0)).save(general / "a.png")
    (general / "a.txt").write_text("a green square", encoding="utf-8")
    train(name="alone")
    train(dataset(prior="general").args[0], name="kept_")
    folder = here.trained_folder()
    assert (folder / "alone.safetensors").read_bytes() != (folder / "kept_.safetensors").read_bytes()
    with pytest.raises(InvalidInputError, match="clips in prior that are to stay, and prior_prompts asks the model"):
        train(dataset(prior="general").args[0], prior_prompts="a cat")


def test_what_cannot_be_is_refused_before_anything_is_learned(here, pictures):
    with pytest.raises(InvalidInputError, match="No dataset is named"):
        dataset(" ")
    with pytest.raises(MissingFileError, match="There is no dataset"):
        dataset("nowhere")
    with pytest.raises(InvalidInputError, match="frames are whole numbers"):
        dataset(frames="many")
    (pictures / "2.png").write_bytes((pictures / "1.png").read_bytes())
    check = NODES["WanDirectorDataset"].validate_inputs
    with pytest.raises(InvalidInputError, match="2.png has no caption: write what it shows into 2.txt"):
        check(source="pictures", prior="", frames="", caption_ending=".txt")
    (pictures / "2.png").unlink()
    given = models()
    for changes, message in (
        ({"name": "../mine"}, "leads out of the output folder"),
        ({"name": " "}, "cannot be the name of a LoRA"),
        ({"name": "a?b"}, "cannot be the name of a LoRA"),
        ({"lowest": 0.9, "highest": 0.5}, "The noise lies between 0 and 1"),
        ({"blocks": "x"}, "x"),
        ({"given": "first"}, "takes no frames, but given is 'first'"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            train(given_models=given, **changes)
    with pytest.raises(InvalidInputError, match="lowest is below highest"):
        NODES["WanDirectorTrainLora"].validate_inputs(lowest=0.9, highest=0.5)
    with pytest.raises(InvalidInputError, match="dataset"):
        train("a folder", given_models=given)
    with pytest.raises(InvalidInputError, match="vae"):
        train(given_models={**given, "vae": object()})
    name, _ = train(given_models=given)
    options = {"strength": 1.0, "blocks": "all", "start_percent": 0.0, "end_percent": 1.0, "merge": False}
    with_lora = NODES["WanDirectorLora"].execute(model=given["model"], lora_name=name, **options).args[0]
    with pytest.raises(InvalidInputError, match="comes with 1 LoRA, and a LoRA is trained on a model alone"):
        train(given_models={**given, "model": with_lora}, name="other")
    assert not (here.trained_folder() / "other.safetensors").exists()
