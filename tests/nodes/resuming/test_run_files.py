"""Files of runs: damaged, foreign, too old, too many, no room for them, and several processes at once."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from wan_director.engine.resuming import folder as run_folder
from wan_director.engine.resuming import state_file
from wan_director.engine.resuming.folder import DAYS, StateFolder
from wan_director.engine.resuming.kept import COST, RunsInFolder
from wan_director.engine.sampling.walk import RUN_KINDS

from .conftest import SETTINGS, files, killed, load, sample, stop_in_step, undisturbed

DAY_S = 24 * 3600
CPU = torch.device("cpu")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of this one")


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def stopped(kept) -> Path:
    """The file of a run that was stopped after two steps."""
    stop_in_step(load(), 2)
    (file,) = files(kept)
    return file


def text(path: Path) -> bytes:
    return b"%PDF-1.7 a file of somebody else"


def other_tensors(path: Path) -> bytes:
    save_file({"weight": torch.ones(3)}, path)
    return path.read_bytes()


def of_another_run(path: Path) -> bytes:
    return path.read_bytes().replace(path.stem.split("-")[1].encode(), b"f" * 32)


def another_format(path: Path) -> bytes:
    return path.read_bytes().replace(b'"wan_director.run": "1"', b'"wan_director.run": "2"')


def cut_off(path: Path) -> bytes:
    return path.read_bytes()[:-1]


def flipped(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    return bytes(data)


def longer(path: Path) -> bytes:
    return path.read_bytes() + b"\0"


@pytest.mark.parametrize(
    "change", [text, other_tensors, of_another_run, another_format, cut_off, flipped, longer, lambda path: b""]
)
def test_a_file_that_is_not_what_it_should_be_is_passed_over_in_one_sentence(change, stopped, kept, caplog):
    stopped.write_bytes(change(stopped))
    caplog.clear()
    assert torch.equal(sample(load()), undisturbed(load()))
    (line,) = warnings(caplog)
    assert line.startswith(f"This run starts anew: its saved state {stopped} is ") and line.endswith("replaced.")
    assert files(kept) == []


def test_every_cut_and_many_flips_are_noticed(stopped, tmp_path):
    whole, key = stopped.read_bytes(), stopped.stem.removeprefix("run-")
    again = tmp_path / stopped.name
    header = 8 + int.from_bytes(whole[:8], "little")
    cuts = [*range(0, header, 7), *range(header, len(whole), 997)]
    changed = [whole[:cut] for cut in cuts]
    for place in [*range(0, header, 3), *range(header, len(whole), 499)]:
        flip = bytearray(whole)
        flip[place] ^= 4
        changed.append(bytes(flip))
    noticed = 0
    for data in changed:
        again.write_bytes(data)
        try:
            state_file.read(again, key)
        except state_file.Unusable:
            noticed += 1
    assert noticed == len(changed) > 400


def test_a_folder_in_its_place_and_a_file_that_may_not_be_read(stopped, kept, caplog):
    stopped.unlink()
    stopped.mkdir()
    caplog.clear()
    assert torch.equal(sample(load()), undisturbed(load()))
    assert "This run starts anew" in warnings(caplog)[0]


def test_a_file_holds_latents_and_neither_pickle_nor_prompt(stopped):
    with safe_open(stopped, "pt") as file:
        assert set(file.metadata()) == {"wan_director.run", "wan_director.key", "wan_director.checksum"}
    shapes = {name: tuple(value.shape) for name, value in load_file(stopped).items()}
    assert {shape for shape in shapes.values() if len(shape) == 5} == {(1, 16, 3, 6, 8)}
    others = {name for name, shape in shapes.items() if len(shape) != 5}
    assert others == {"sampler.solver.noise.generators.0", "structure"}
    assert os.name == "nt" or stat.S_IMODE(stopped.parent.stat().st_mode) == 0o700


def test_a_latent_that_is_there_twice_is_written_once(stopped):
    """UniPC: the latent, the guess of the last step, the one before it, and where the last step began."""
    latent = 16 * 3 * 6 * 8 * 4
    assert 4 * latent < stopped.stat().st_size < 4 * latent + 10_000


@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_costs_one_warning(refusal, kept, monkeypatch, caplog):
    def write(*_arguments):
        raise OSError(refusal, os.strerror(refusal))

    expected = undisturbed(load())
    monkeypatch.setattr(run_folder, "write", write)
    caplog.clear()
    assert torch.equal(sample(load()), expected)
    (line,) = warnings(caplog)
    assert os.strerror(refusal) in line and str(kept.folder.path) in line and "where it is broken off" in line


def test_a_disk_that_gets_full_in_the_middle_of_a_file_leaves_the_file_before(kept, monkeypatch, caplog):
    expected, saved, checked = undisturbed(load()), [], state_file.tensor_bytes

    def full(tensor):
        saved.append(1)
        if len(saved) > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return checked(tensor)

    monkeypatch.setattr(state_file, "tensor_bytes", full)
    with pytest.raises(ZeroDivisionError):
        broken_off_at_the_end(load())
    monkeypatch.undo()
    (file,) = files(kept)
    assert kept.folder.load(file.stem.removeprefix("run-"), RUN_KINDS, CPU).sampler.step == 1
    assert len(warnings(caplog)) == 1
    assert torch.equal(sample(load()), expected)


def broken_off_at_the_end(model) -> None:
    passes = []

    def stop(*_call):
        passes.append(1)
        if len(passes) == 8:
            raise ZeroDivisionError

    hook = model.residence.module.head.register_forward_hook(stop)
    try:
        sample(model)
    finally:
        hook.remove()


def test_the_last_room_of_a_disk_is_left_for_the_result(kept, monkeypatch, caplog):
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - 10**8, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    sample(load())
    assert "only 100 MB are free on that disk" in warnings(caplog)[0] and files(kept) == []


def test_a_folder_that_cannot_be_made_costs_one_warning(tiny_host, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    tiny_host.runtime.kept_runs = RunsInFolder(StateFolder(tmp_path / "file" / "runs"), every_s=0.0)
    assert torch.equal(sample(load()), undisturbed(load()))
    assert len(warnings(caplog)) == 1


def test_more_than_all_runs_may_take_is_not_kept(kept, tiny_host, caplog):
    tiny_host.runtime.kept_runs = replace(kept, folder=replace(kept.folder, limit_bytes=1000))
    sample(load())
    assert "all kept runs together may take 1.0 kB" in warnings(caplog)[0] and files(kept) == []


def test_old_runs_go_and_the_oldest_where_all_take_too_much(tmp_path):
    states = StateFolder(tmp_path / "runs", limit_bytes=250)
    states.path.mkdir()
    now = time.time()
    ages = {"a": 0.0, "b": 1.0, "c": 2.0, "d": DAYS + 1}
    for name, days in ages.items():
        file = states.path / f"run-{name * 32}.safetensors"
        file.write_bytes(b"x" * 100)
        os.utime(file, (now - days * DAY_S,) * 2)
    others = [states.path / "run-a.safetensors", states.path / "my_video.safetensors", states.path / "notes.txt"]
    for file in others:
        file.write_bytes(b"x" * 1000)
        os.utime(file, (0, 0))
    leftover = states.path / f".wan_director-{'0' * 16}.part.safetensors"
    leftover.touch()
    os.utime(leftover, (0, 0))
    states.tidy()
    assert sorted(states.path.iterdir()) == sorted(
        [*others, *(states.path / f"run-{n * 32}.safetensors" for n in "ab")]
    )
    seeded = states.path / f"run-{'a' * 32}-42.safetensors"
    seeded.touch()
    os.utime(seeded, (0, 0))
    states.tidy("d" * 32)
    replace(states, limit_bytes=0).tidy("b" * 32)
    assert sorted(states.path.iterdir()) == sorted([*others, states.path / f"run-{'b' * 32}.safetensors"])


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "precious.safetensors"
    target.write_bytes(b"x")
    states = StateFolder(tmp_path / "runs", days=0.0)
    states.path.mkdir()
    (states.path / f"run-{'a' * 32}.safetensors").symlink_to(target)
    states.tidy()
    assert target.exists()


@needs_fork
def test_two_processes_do_the_same_run_at_once(kept, tiny_host):
    """Each saves, replaces and removes the same file all the time, and one of them is killed."""
    model = load()
    expected = undisturbed(model)
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            results = [torch.equal(sample(model, replace(SETTINGS, steps=4)), expected) for _run in range(6)]
            os._exit(0 if all(results) else 1)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0, 0]
    assert torch.equal(sample(model), expected) and files(kept) == []


def test_runs_of_several_settings_do_not_meet(kept):
    model = load()
    settings = [replace(SETTINGS, seed=seed) for seed in range(3)]
    expected = [undisturbed(model, each) for each in settings]
    for step, each in enumerate(settings, 1):
        stop_in_step(model, step, each)
    assert len(files(kept)) == 3
    assert all(torch.equal(sample(model, each), result) for each, result in zip(settings, expected))


def told_of_kin(caplog) -> list[str]:
    return [line for line in caplog.messages if line.startswith("An earlier run of the same settings")]


def test_a_run_of_another_seed_that_was_broken_off_is_named(kept, caplog):
    """As the canvas has another seed on randomize: the newest is told of, with what goes on with it."""
    caplog.set_level(logging.INFO, "wan_director")
    model = load()
    for step, seed in ((1, 42), (2, 7)):
        stop_in_step(model, step, replace(SETTINGS, seed=seed))
    for age, file in enumerate(sorted(files(kept), key=lambda file: file.stem.endswith("-42"))):
        os.utime(file, (time.time() - age,) * 2)
    caplog.clear()
    assert torch.equal(sample(model), undisturbed(model))
    assert told_of_kin(caplog) == [
        "An earlier run of the same settings with seed 7 was broken off after step 2 of 4, or goes on elsewhere. To go "
        "on with it, set the seed to 7, and control after generate to fixed."
    ]
    assert len(files(kept)) == 2
    caplog.clear()
    sample(model, replace(SETTINGS, seed=7))
    assert "Sampling goes on after step 2 of 4, where an earlier run of it was broken off." in caplog.messages
    assert told_of_kin(caplog) == []


@pytest.mark.parametrize("other", [{"steps": 5}, {"cfg": 2.0}, {"solver": "euler"}])
def test_a_run_that_differs_in_more_than_its_seed_is_not_named(other, kept, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    stop_in_step(load(), 1, replace(SETTINGS, seed=42, **other))
    sample(load())
    assert told_of_kin(caplog) == []


def test_a_run_of_another_seed_that_has_ended_is_not_named(kept, tiny_host, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    tiny_host.runtime.kept_runs = replace(kept, keeps_ended=True)
    sample(load(), replace(SETTINGS, seed=42))
    assert len(files(kept)) == 1
    sample(load())
    assert told_of_kin(caplog) == []


@pytest.mark.parametrize("change", [text, cut_off, flipped, of_another_run])
def test_a_damaged_run_of_another_seed_is_not_named(change, stopped, kept, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    stopped.write_bytes(change(stopped))
    caplog.clear()
    sample(load(), replace(SETTINGS, seed=42))
    assert told_of_kin(caplog) == [] and warnings(caplog) == []
    assert files(kept) == [stopped]


def test_the_first_state_is_not_too_dear_either(kept):
    """One of 700 MB waits until 2.8 seconds are a fiftieth of the run; one that is broken off does not."""
    now, saved = [0.0], []

    class Noting(StateFolder):
        def save(self, key, value, kinds):
            saved.append(now[0])
            return 0

    large = torch.empty(700_000_000, dtype=torch.uint8, device="meta")
    runs = RunsInFolder(Noting(kept.folder.path), every_s=20.0, clock=lambda: now[0])
    for length, expected in ((200, [141.0, 161.0, 181.0]), (100, [])):
        now[0] = 0.0
        saved.clear()
        with pytest.raises(KeyError), runs.of(lambda: "a" * 32, ()) as run:
            for _ in range(length):
                now[0] += 1.0
                run.reach(large)
            assert saved == expected
            raise KeyError
        assert saved == [*expected, float(length)]


@pytest.mark.parametrize(("saving_s", "times"), [(1.0, 12), (0.0, 30)])
def test_saving_takes_no_more_than_a_part_of_the_time(saving_s, times, kept):
    """A disk on which a state takes a second is written to every fifty seconds, another one every twenty."""
    now, saved = [0.0], []

    class Slow(StateFolder):
        def save(self, key, value, kinds):
            saved.append(now[0])
            now[0] += saving_s
            return 0

    runs = RunsInFolder(Slow(kept.folder.path), every_s=20.0, clock=lambda: now[0])
    with pytest.raises(KeyError), runs.of(lambda: "a" * 32, ()) as run:
        for step in range(600):
            now[0] += 1.0
            run.reach(step)
        assert len(saved) == pytest.approx(times, abs=1)
        assert all(later - earlier >= max(20.0, saving_s / COST) for earlier, later in zip(saved, saved[1:]))
        raise KeyError


def test_a_run_that_ended_may_stay_until_its_result_is_in_safety(kept, tiny_host, caplog):
    """As on the command line, where a video that was sampled may still be lost."""
    caplog.set_level(logging.INFO, "wan_director")
    runs = tiny_host.runtime.kept_runs = replace(kept, keeps_ended=True)
    model = load()
    expected = sample(model)
    assert len(files(runs)) == 1
    caplog.clear()
    assert torch.equal(sample(model), expected)
    assert "An earlier run had made all 4 steps of this one: its result is used." in caplog.messages
    runs.forget_ended()
    assert files(runs) == []


@needs_fork
def test_killed_while_it_writes(kept, monkeypatch):
    """What is half written has another name."""
    model = load()
    expected = undisturbed(model)
    written = []

    def write(*arguments):
        written.append(1)
        if len(written) == 3:
            with state_file.unfinished_file(kept.folder.path, "safetensors") as part:
                part.write_bytes(b"half")
                os.kill(os.getpid(), 9)
        state_file.write(*arguments)

    monkeypatch.setattr(run_folder, "write", write)
    killed(lambda: sample(model))
    monkeypatch.undo()
    assert len(files(kept)) == 2
    assert torch.equal(sample(model), expected)
    (left,) = files(kept)
    assert left.name.startswith(".wan_director-")  # it goes a day later
