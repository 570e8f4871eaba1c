"""A film that was broken off goes on after its last finished clip, and its file is that of an undisturbed run."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from wan_director.engine.films.kept import FilmsInFolder
from wan_director.engine.local import Interrupted
from wan_director.engine.resuming.kept import NO_RUNS_KEPT

from ..conftest import load
from .conftest import film, frames_of, saved

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of this one")
CLIPS = 4


def told(caplog) -> list[str]:
    return [line for line in caplog.messages if "film goes on" in line or "of this film" in line]


def clips_in(kept) -> list:
    return sorted(kept.path.glob("run-*")) if kept.path.is_dir() else []


@pytest.fixture
def expected(tiny_host, tmp_path):
    """The files of an undisturbed film, by their formats."""
    made = {}
    for format in ("png frames", "mp4-h264"):
        film(clips=CLIPS, format=format)
        made[format] = saved(tiny_host)
        shutil.rmtree(tiny_host.output)
    return made


class Stopping:
    """A model's head that ends the work in the pass of this number, counted from 0."""

    def __init__(self, model, pass_number: int, end) -> None:
        self.passes, self._at, self._end = 0, pass_number, end
        self._hook = model.residence.module.head.register_forward_hook(self._count)

    def _count(self, *_call) -> None:
        self.passes += 1
        if self.passes == self._at + 1:
            self._end()

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        self._hook.remove()


def stop() -> None:
    raise Interrupted


PASSES = 2 * 2  # two steps, two prompts


@pytest.mark.parametrize("format", ["png frames", "mp4-h264"])
@pytest.mark.parametrize("clip", range(CLIPS))
def test_stopped_in_any_clip_and_run_again(clip, format, expected, kept, tiny_host, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    model = load("i2v.safetensors")
    with Stopping(model, clip * PASSES + 3, stop), pytest.raises(Interrupted):
        film(model, clips=CLIPS, format=format)
    assert saved(tiny_host) == {} and len(clips_in(kept)) == clip
    caplog.clear()
    with Stopping(model, 10**9, stop) as counted:
        film(model, clips=CLIPS, format=format)
    assert saved(tiny_host) == expected[format]
    # The clip that was under way had made its first step.
    assert counted.passes == (CLIPS - clip) * PASSES - 2
    assert len([line for line in caplog.messages if line.startswith("Sampling goes on after step 1 of 2")]) == 1
    where = [f"The film goes on after clip {clip} of {CLIPS}, where an earlier run of it was broken off."]
    assert told(caplog) == (where if clip else [])
    assert clips_in(kept) == []


@needs_fork
@pytest.mark.parametrize("pass_number", [0, PASSES + 1, 3 * PASSES])
def test_killed_and_run_again(pass_number, expected, kept, tiny_host):
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            model = load("i2v.safetensors")
            with Stopping(model, pass_number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                film(model, clips=CLIPS, format="mp4-h264")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    film(clips=CLIPS, format="mp4-h264")
    files = {name: file for name, file in saved(tiny_host).items() if "/." not in name}  # hidden: for a day
    assert files == expected["mp4-h264"]


def test_a_run_after_all_clips_were_made_makes_none(expected, kept, tiny_host, monkeypatch, caplog):
    """The encoder fails at the very end: nothing of the work is lost."""
    from wan_director.common.errors import OutputError
    from wan_director.media import video_writing

    caplog.set_level(logging.INFO, "wan_director")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(video_writing, "_check_whole", fail)
        with pytest.raises(OutputError, match=r"No space left.* The first 4 of 4 clips are kept: when the cause is"):
            film(clips=CLIPS, format="mp4-h264")
    model = load("i2v.safetensors")
    with Stopping(model, 0, lambda: pytest.fail("sampled")):
        film(model, clips=CLIPS, format="mp4-h264")
    assert saved(tiny_host) == expected["mp4-h264"] and clips_in(kept) == []
    assert told(caplog)[-1] == "An earlier run had made all 4 clips of this film: they are used."


def test_clips_of_another_overlap_are_not_counted_among_those_that_are_kept(kept, monkeypatch):
    from wan_director.common.errors import OutputError
    from wan_director.media import video_writing

    def fail(*_):
        raise OSError(28, "No space left on device")

    broken_off(2)
    monkeypatch.setattr(video_writing, "_check_whole", fail)
    with pytest.raises(OutputError, match="The first 4 of 4 clips are kept"):
        film(clips=CLIPS, overlap=1, format="mp4-h264")
    assert len(clips_in(kept)) == 6


def broken_off(clip: int, **changed) -> None:
    model = load("i2v.safetensors")
    with Stopping(model, clip * PASSES + 3, stop), pytest.raises(Interrupted):
        film(model, clips=CLIPS, **changed)


def passes_of(**changed) -> int:
    model = load("i2v.safetensors")
    with Stopping(model, 10**9, stop) as counted:
        film(model, **{"clips": CLIPS, **changed})
    return counted.passes


@pytest.fixture
def without_steps(kept, tiny_host):
    """Clips are kept, steps are not."""
    tiny_host.runtime.kept_runs = NO_RUNS_KEPT
    return kept


@pytest.mark.parametrize(
    ("changed", "reused"),
    [
        ({}, 3),
        ({"prompts": "a red ball\na blue box\nthe box falls"}, 2),  # the third clip has another prompt
        ({"prompts": "a red ball\na red ball"}, 1),
        ({"clips": 6}, 3),  # a longer film
        ({"fps": 24.0, "quality": 3, "format": "gif", "filename_prefix": "other"}, 3),  # another file
        ({"seed": 8}, 0),
        ({"negative": "worse"}, 0),
        ({"steps": 3}, 0),
        ({"cfg": 3.5}, 0),
        ({"shift": 3.0}, 0),
        ({"solver": "unipc"}, 0),
        ({"overlap": 1}, 0),
        ({"width": 80}, 0),
        ({"start_image": torch.zeros(1, 48, 64, 3)}, 0),
        ({"end_images": torch.zeros(1, 48, 64, 3)}, 0),
    ],
)
def test_clips_are_used_again_where_nothing_that_they_depend_on_has_changed(changed, reused, without_steps):
    broken_off(3)
    assert len(clips_in(without_steps)) == 3
    steps, clips = changed.get("steps", 2), changed.get("clips", CLIPS)
    assert passes_of(**changed) == (clips - reused) * steps * 2


def test_a_strength_that_changes_makes_another_film(without_steps, tiny_host, tmp_path):
    from wan_director.engine.models import with_policies

    broken_off(2)
    model = load("i2v.safetensors")
    amplified = with_policies(model, lambda policies: replace(policies, amplify=1.2))
    with Stopping(amplified, 10**9, stop) as counted:
        film(amplified, clips=CLIPS)
    assert counted.passes == CLIPS * PASSES


def test_code_that_prepares_clips_otherwise_makes_another_film(without_steps, monkeypatch):
    from wan_director.engine.resuming import identity
    from wan_director.nodes.films import cast

    assert cast.code_identity("nodes") != identity.code_identity("engine")
    broken_off(2)
    monkeypatch.setattr(cast, "code_identity", lambda *folders: f"another version of {folders}")
    assert passes_of() == CLIPS * PASSES


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign"])
def test_a_damaged_clip_is_made_anew_with_one_sentence_and_those_after_it_are_used(
    damage, expected, without_steps, tiny_host, caplog
):
    caplog.set_level(logging.INFO, "wan_director")
    broken_off(3)
    first, second, third = sorted(clips_in(without_steps), key=lambda file: file.stat().st_mtime_ns)
    if damage == "foreign":
        shutil.copy(third, second)
    else:
        data = bytearray(second.read_bytes())
        data = data[: len(data) // 2] if damage == "cut" else data
        data[-1] ^= 1
        second.write_bytes(data)
    caplog.clear()
    assert passes_of() == 2 * PASSES  # the second and the last
    warnings = [line for line in caplog.messages if "film clip starts anew" in line]
    assert len(warnings) == 1 and str(second) in warnings[0] and "It will be replaced." in warnings[0]
    assert saved(tiny_host) == expected["png frames"]


def test_a_film_of_which_nothing_is_kept_is_the_same(expected, tiny_host, tmp_path):
    film(clips=CLIPS)
    assert saved(tiny_host) == expected["png frames"] and not list(tmp_path.glob("runs/**/run-*"))


def test_what_the_sampler_has_kept_of_a_clip_goes_with_it(kept, tiny_host):
    """In a long film the states of its clips would fill the folder; those of runs before it stay."""
    tiny_host.runtime.kept_runs._ended.append("0" * 32)
    broken_off(3)
    states = list(tiny_host.runtime.kept_runs.folder.path.glob("run-*"))
    assert len(states) == 1 and tiny_host.runtime.kept_runs._ended == ["0" * 32]


def test_clips_are_kept_within_bounds_and_the_film_goes_on(expected, without_steps, tiny_host, caplog):
    caplog.set_level(logging.WARNING, "wan_director")
    broken_off(2)
    size = max(file.stat().st_size for file in clips_in(without_steps))
    for file in clips_in(without_steps):
        file.unlink()
    small = replace(without_steps, limit_bytes=2 * size + size // 2)
    tiny_host.runtime.kept_films = FilmsInFolder(small)
    other = small.path / f"run-{'a' * 32}.safetensors"
    other.write_bytes(b"x" * size)
    os.utime(other, (0, 0))
    broken_off(3)
    # The oldest goes first; of this film none does: what is there is worth having.
    assert not other.exists() and len(clips_in(small)) == 3
    assert [line for line in caplog.messages if line.startswith("From here on no clip of this film is kept in")]
    film(clips=CLIPS)
    assert saved(tiny_host) == expected["png frames"]


def test_a_disk_without_room_for_clips_is_said_once_and_the_film_goes_on(
    expected, without_steps, tiny_host, monkeypatch, caplog
):
    from wan_director.engine.resuming import folder

    caplog.set_level(logging.WARNING, "wan_director")
    monkeypatch.setattr(folder, "RESERVE_BYTES", 10**18)
    film(clips=CLIPS)
    assert saved(tiny_host) == expected["png frames"]
    assert len([line for line in caplog.messages if "no clip of this film is kept" in line]) == 1


def test_a_vae_that_another_node_has_loaded_has_no_name_that_lasts(kept, tiny_host, caplog):
    from ..conftest import load_vae

    class Native:
        """What a VAE of ComfyUI answers."""

        def __init__(self, vae):
            self._vae = vae

        def __getattr__(self, name):
            if name in ("spec", "family", "placed"):
                raise AttributeError(name)
            return getattr(self._vae, name)

    caplog.set_level(logging.INFO, "wan_director")
    vae = load_vae("vae.safetensors")
    film(vae=vae, clips=2)
    film(vae=Native(vae), clips=2)
    assert frames_of(tiny_host, 1) == frames_of(tiny_host, 2) and clips_in(kept) == []
    assert "Where this film is broken off, it starts anew: it depends on a VAE or CLIP" in caplog.text
