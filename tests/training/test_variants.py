"""The bundled miniatures: recognised as published models are, stored as they are, and following what they are given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from wan_director.common.families import TINY
from wan_director.dit.branches.audio.talk import TalkBranch
from wan_director.dit.branches.pose import PoseBranch
from wan_director.dit.branches.reference import ReferenceBranch
from wan_director.media.sound.reading import probe_sound, read_sound
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.training.variants import control, ears, example, pose, talk
from wan_director.training.variants.judge import scores
from wan_director.training.variants.syllables import SAMPLE_RATE, syllables

MODELS = Path(__file__).parents[2] / "models"
FILES = {
    control.FILE: "Fun-Control of the tiny demo model",
    pose.FILE: "Animate-2 of the tiny demo model",
    talk.FILE: "a InfiniteTalk module of the tiny demo model",
    ears.FILE: "wav2vec2 of width 16",
}
BRANCHES = {control.FILE: ReferenceBranch, pose.FILE: PoseBranch, talk.FILE: TalkBranch}
JUDGED = 8


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads wait for each other on a busy machine
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "title"), FILES.items())
def test_each_is_called_what_it_is(name, title):
    spec = inspect_checkpoint(open_checkpoint(MODELS / name))
    assert (spec.title, spec.notes) == (title, ())
    if name in BRANCHES:
        assert spec.config.branch(BRANCHES[name]) is not None


@pytest.mark.parametrize("name", BRANCHES)
def test_each_says_that_it_is_of_the_demo_and_has_its_matrices_as_scaled_fp8(name):
    with safe_open(MODELS / name, "pt") as file:
        assert file.metadata()["wan_director.family"] == TINY.name
        keys = set(file.keys())
        scaled = {key for key in keys if file.get_slice(key).get_dtype() == "F8_E4M3"} - {"scaled_fp8"}
        assert scaled and {f"{key.removesuffix('weight')}scale_weight" for key in scaled} <= keys
        assert all(file.get_slice(key).get_dtype() == "F16" for key in keys - scaled if "scale" not in key)


def test_an_untrained_miniature_is_the_bundled_model_with_fewer_blocks():
    """Whose new channels count for nothing."""
    model, lesson = control.ControlLesson().begin(MODELS), pose.PoseLesson().begin(MODELS)
    weight = model.patch_embedding.weight
    assert weight.shape[1] == 52 and not weight[:, 16:32].any() and weight[:, :16].any() and weight[:, 32:].any()
    assert torch.equal(weight[:, :16], lesson.patch_embedding.weight[:, :16])
    assert len(model.blocks) == len(lesson.blocks) == 2


def test_fun_control_follows_its_control_video():
    found = scores(control.ControlLesson(), control.ControlLesson().finished(MODELS), MODELS, JUDGED)
    assert found["place IoU"] > 0.6 and found["colours"] >= 0.8


def test_animate_2_moves_the_shape_of_the_picture_as_the_pose_video_does():
    found = scores(pose.PoseLesson(), pose.PoseLesson().finished(MODELS), MODELS, JUDGED)
    assert found["place IoU"] > 0.2 and found["colours"] >= 0.6


def test_infinitetalk_swells_with_what_is_heard():
    found = scores(talk.TalkLesson(), talk.TalkLesson().finished(MODELS), MODELS, JUDGED)
    assert found["size with loudness"] > 0.6 and found["colours"] >= 0.8


def test_the_bundled_clip_is_that_of_its_script(tmp_path):
    """As far as the encoders of two versions of ffmpeg agree: in its length, and in what is heard."""
    example.write(tmp_path / "again.mp4")
    bundled, again = (read_sound(path, probe_sound(path)) for path in (example.FILE, tmp_path / "again.mp4"))
    assert bundled.waveform.shape == again.waveform.shape
    assert (bundled.waveform - again.waveform).abs().max() < 0.1 < bundled.waveform.abs().max()


def test_syllables_are_within_bounds_and_always_the_same():
    sound = syllables(1.5, 2.0, 3)
    assert sound.shape == (1, 1.5 * SAMPLE_RATE) and sound.abs().max() == pytest.approx(0.8, abs=1e-6)
    assert torch.equal(sound, syllables(1.5, 2.0, 3)) and not torch.equal(sound, syllables(1.5, 2.0, 4))
