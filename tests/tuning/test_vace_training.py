"""Training of VACE: control videos and masks as columns of a dataset; one step against diffusers with PEFT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from wan_director.common.errors import InvalidInputError, MissingFileError
from wan_director.dit.adapters import AppliedAdapter, adapted, trainable_parameters
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.conditioning.vace import VaceControl, mask_channels, split_by_mask
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.media.video_writing import write_video
from wan_director.tuning.batch import TrainingBatch, joined
from wan_director.tuning.datasets import PictureShape, clips_of, read_beside, read_clip, read_dataset
from wan_director.tuning.learner import Learner, OptimiserSettings
from wan_director.tuning.new_adapter import AdapterSettings, new_adapter
from wan_director.tuning.noise import NoiseLevels
from wan_director.tuning.objective import flow_loss, seeded

from ..dit.conftest import build_diffusers, official_name
from .made_models import vace_model
from .test_samples import BUNDLED, SAMPLES
from .test_training_run import MEMORY, ready, settings_in

CONFIG = DiTConfig(
    dim=64, ffn_dim=96, heads=2, layers=4, text_dim=24, text_tokens=512, branches=(VaceBranch(2, channels=96),)
)
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
LIMIT = 1e-5  # relative, float32: two orders of summation


def batch_of(number: int) -> TrainingBatch:
    generator = torch.Generator().manual_seed(number)
    latent = torch.randn(1, 16, 2, 4, 6, generator=generator)
    text = torch.randn(1, 512, 24, generator=generator)
    text[:, 9:] = 0
    control = VaceControl(torch.randn(1, 96, 2, 4, 6, generator=generator))
    return TrainingBatch(latent, Conditioning(text, (control,)))


def test_the_loss_and_the_gradients_of_a_step_are_those_of_peft():
    """Of the trunk's matrices and of those of VACE's own blocks; two clips at once, each with its control video."""
    peft = pytest.importorskip("peft")
    theirs = build_diffusers(CONFIG)
    ours = WanDiT(CONFIG).eval().requires_grad_(False)
    ours.load_state_dict({official_name(name): value for name, value in theirs.state_dict().items()})
    settings = AdapterSettings(rank=4, alpha=6.0)
    learner = Learner(new_adapter("a", ours, settings, 1), OptimiserSettings(), torch.device("cpu"))
    parameters = trainable_parameters(learner.adapter)
    for number, value in enumerate(parameters.values()):  # both factors away from zero: both have gradients
        value.data.add_(0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(number)))
    theirs.add_adapter(peft.LoraConfig(r=4, lora_alpha=6.0, target_modules=TARGETS))
    learned = {}
    for name, value in theirs.named_parameters():
        if value.requires_grad:
            layer, _, role = name.partition(".lora_")
            learned[f"{official_name(layer)}.weight.{ {'A': 'down', 'B': 'up'}[role[0]] }"] = value
    assert learned.keys() == parameters.keys() and any(name.startswith("vace_blocks.1.") for name in learned)
    for name, value in learned.items():
        value.data.copy_(parameters[name].detach())

    def ask(inputs: DitInputs) -> torch.Tensor:
        (control,) = inputs.steering
        return theirs(inputs.latent, inputs.timestep, inputs.text, control_hidden_states=control.channels).sample

    batch, levels = joined([batch_of(0), batch_of(1)]), NoiseLevels()
    with adapted(ours, [AppliedAdapter(learner.adapter)]):
        loss = flow_loss(lambda inputs: ours(inputs, Execution(checkpoints=True)), batch, levels, seeded(1))
        loss.backward()
    expected = flow_loss(ask, batch, levels, seeded(1))
    expected.backward()
    assert (loss - expected).abs() <= LIMIT * expected
    lengths = []
    for name, value in learned.items():
        difference = (parameters[name].grad - value.grad).norm()
        # Queries of 512 texts have gradients that are small differences of large numbers, as in test_against_peft.
        assert value.grad.norm() > 0 and difference <= 1e-4 * value.grad.norm(), name
        lengths.append((difference, value.grad.norm()))
    difference, whole = torch.tensor(lengths).norm(dim=0)
    assert difference <= LIMIT * whole


CLIPS = """
[general]
resolution = [64, 48]
enable_bucket = false
[[datasets]]
image_directory = "pictures"
control_directory = "edges"
mask_directory = "masks"
"""


def vace_settings(folder: Path, more: str = "", model: Path | None = None) -> Path:
    """A training of pictures with control pictures and masks."""
    path = settings_in(folder, more=more)
    for number in range(2):
        for name, colour in (("edges", (40 + 90 * number,) * 3), ("masks", (0, 0, 0))):
            picture = Image.new("RGB", (80, 60 + 20 * number), colour)
            if name == "masks":
                picture.paste((255, 255, 255), (0, 0, 40, 80))
            (folder / name).mkdir(exist_ok=True)
            picture.save(folder / name / f"{number}.png")
    (folder / "clips.toml").write_text(CLIPS, encoding="utf-8")
    own = model or vace_model(folder / "vace.safetensors")
    text = path.read_text(encoding="utf-8").replace(BUNDLED, str(own)).replace('"pictures"', '"clips.toml"')
    path.write_text(text, encoding="utf-8")
    return path


def test_a_training_of_vace_is_the_same_in_every_arrangement_and_is_shown(tmp_path):
    """To the bit; samples get the control videos of the clips, and VACE's own blocks learn, too."""
    whole = ready(vace_settings(tmp_path / "a"))
    losses = [step.loss for step in whole.run()]
    memory = MEMORY.format(gigabytes=1, swapped=7, inputs=5, recompute="parts")
    training = ready(vace_settings(tmp_path / "b", memory + SAMPLES, tmp_path / "a/vace.safetensors"))
    assert [step.loss for step in training.run()] == losses
    assert training.target.read_bytes() == whole.target.read_bytes()
    assert (tmp_path / "b/out/mine.samples.png").is_file()
    assert b"lora_unet_vace_blocks_1_self_attn_q.lora_up.weight" in whole.target.read_bytes()


def test_the_model_is_told_what_the_columns_say(tmp_path):
    training = ready(vace_settings(tmp_path))
    (part,) = read_dataset(tmp_path / "clips.toml", PictureShape(1, 1))
    clip = clips_of(part)[0]
    frames = read_clip(clip, part, 16)
    video = read_beside(clip.control, clip, part, frames)
    mask = read_beside(clip.mask, clip, part, frames).mean(dim=3)
    vae, family = training.samples.vae.residence.module, training.model.spec.family
    with torch.no_grad():
        parts = [family.normalize(vae.encode(2 * each[None].movedim(-1, 1) - 1)) for each in split_by_mask(video, mask)]
    expected = torch.cat([*parts, mask_channels(mask)], dim=1)
    told = [training.clips.batch(number).told.items[0].channels for number in range(2)]
    assert any((each - expected).abs().max() <= 1e-5 for each in told)
    assert set(mask.unique().tolist()) >= {0.0, 1.0}


def test_columns_of_lines_have_the_names_of_other_trainers(tmp_path):
    settings_in(tmp_path)
    frames = [torch.full((48, 64, 3), number / 10) for number in range(9)]
    for name in ("clip", "control"):
        write_video(frames, tmp_path / f"{name}.mp4", format="mp4-h264", fps=16, quality=90)
    lines = [
        {"video_path": "clip.mp4", "caption": "a", "control_path": "control.mp4", "mask_path": "pictures/0.png"},
        {"video_path": "clip.mp4", "caption": "b", "vace_video": "control.mp4", "vace_video_mask": "pictures/1.png"},
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    (part,) = read_dataset(path, PictureShape(64, 48), (5,))
    for number, clip in enumerate(clips_of(part)):
        assert clip.control == tmp_path / "control.mp4" and clip.mask == tmp_path / f"pictures/{number}.png"
        own = read_clip(clip, part, 16)
        assert torch.equal(read_beside(clip.control, clip, part, own), own)
        mask = read_beside(clip.mask, clip, part, own)
        assert mask.shape == own.shape and torch.equal(mask[0], mask[4])
    (short,) = read_dataset(path, PictureShape(64, 48), (9,))
    write_video(frames[:3], tmp_path / "control.mp4", format="mp4-h264", fps=16, quality=90)
    (clip, _) = clips_of(short)
    with pytest.raises(InvalidInputError, match="control.mp4 has 3 frames where clip.mp4 has 9"):
        read_beside(clip.control, clip, short, read_clip(clip, short, 16))
    path.write_text(json.dumps({**lines[0], "vace_reference_image": "x.png"}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="vace_reference_image, with which VACE is not trained here"):
        clips_of(short)


def test_control_videos_that_are_missing_are_refused(tmp_path):
    path = vace_settings(tmp_path)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(CLIPS.replace('image_directory = "pictures"', 'image_jsonl_file = "x.jsonl"'), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="has control_directory and mask_directory for image_jsonl_file"):
        read_dataset(wrong, PictureShape(1, 1))
    (tmp_path / "edges/1.png").rename(tmp_path / "edges/2.png")
    with pytest.raises(InvalidInputError, match="1.png has 0 files of its name in edges"):
        ready(path)
    table = tmp_path / "clips.toml"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace('"edges"', '"nowhere"'), encoding="utf-8")
    with pytest.raises(MissingFileError, match="There is no folder .*nowhere"):
        ready(path)
    table.write_text(text.split("control_directory")[0], encoding="utf-8")
    with pytest.raises(InvalidInputError, match="0.png has no control video, which a model with VACE is trained with"):
        ready(path)
    (tmp_path / "edges/2.png").rename(tmp_path / "edges/1.png")
    table.write_text(text, encoding="utf-8")
    words = path.read_text(encoding="utf-8")
    path.write_text(words.replace(str(tmp_path / "vace.safetensors"), BUNDLED), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="has no VACE, but 0.png comes with a control video"):
        ready(path)
