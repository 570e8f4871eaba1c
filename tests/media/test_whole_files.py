"""A file has its name when it is whole, a number belongs to one run, and leftovers of killed runs harm nobody."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from wan_director.media import whole
from wan_director.media.encoder import count_frames
from wan_director.media.place import SavePlace
from wan_director.media.video_writing import save_video
from wan_director.media.whole import next_number, publish, remove_leftovers, unfinished_file, unfinished_folder
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its processes by fork")
# Mostly pictures, which need no encoder's start.
FORMATS = ("mp4-h264", *["png frames"] * 4, "gif", *["png frames"] * 4)
RUNS, PROCESSES = 30, 3


@pytest.fixture(autouse=True)
def host(tmp_path) -> HeadlessHost:
    host = HeadlessHost(output=tmp_path / "output")
    use_host(host)
    return host


@pytest.fixture
def place(tmp_path: Path) -> SavePlace:
    (tmp_path / "clips").mkdir()
    return SavePlace(tmp_path / "clips", "clip", 1, "clips")


def clip(value: float) -> torch.Tensor:
    return torch.full((2, 16, 16, 3), value)


def save(place: SavePlace, format: str, frames=None) -> list[Path]:
    frames = clip(0.5) if frames is None else frames
    return save_video(frames, place, format=format, fps=8, quality=50, metadata={})


def in_a_child(work) -> int:
    """Runs `work` in a process of its own and gives its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


@needs_fork
def test_three_processes_save_ninety_files_into_one_folder(host, tmp_path):
    """All are there, all are whole, and no number is told twice."""

    def work(process: int) -> None:
        told = []
        for run in range(RUNS):
            place = host.save_place("clips/clip", 16, 16)
            file = save(place, FORMATS[run % len(FORMATS)], clip((process * RUNS + run) / 100))[0]
            told.append(str(file.parent if file.suffix == ".png" else file))
        (tmp_path / f"{process}.json").write_text(json.dumps(told))

    children = [in_a_child(lambda process=process: work(process)) for process in range(PROCESSES)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES
    told = [json.loads((tmp_path / f"{process}.json").read_text()) for process in range(PROCESSES)]
    files = sorted(map(Path, sum(told, [])))
    assert sorted(host.output.joinpath("clips").iterdir()) == files
    assert [int(file.name.split("_")[1]) for file in files] == list(range(1, PROCESSES * RUNS + 1))
    assert all(len(list(file.iterdir())) == 2 if file.is_dir() else count_frames(file) == 2 for file in files)
    for process, names in enumerate(told):
        for run, name in enumerate(names):
            if Path(name).is_dir():  # its own frames, not those of another run
                pixel = Image.open(Path(name) / "00000.png").getpixel((0, 0))[0]
                assert pixel == pytest.approx(2.55 * (process * RUNS + run), abs=0.6)


@pytest.mark.parametrize("ending", ["mp4", "gif", "png"])
def test_a_file_that_comes_in_between_is_not_replaced(place, ending):
    """As ComfyUI's own nodes write them: a number read beforehand and taken without asking."""
    others = place.folder / f"clip_00001_.{ending}"
    others.write_text("of another program")
    assert save(place, "mp4-h264")[0].name == "clip_00002_.mp4"
    assert others.read_text() == "of another program"


@pytest.mark.parametrize("format", ["gif", "png frames"])
def test_a_name_taken_in_the_last_moment_is_not_replaced(place, format, monkeypatch):
    monkeypatch.setattr(whole, "next_number", lambda *_: 1)
    taken = place.folder / ("clip_00001_.gif" if format == "gif" else "clip_00001_")
    taken.touch() if format == "gif" else taken.mkdir()
    file = save(place, format)[0]
    assert (file if format == "gif" else file.parent).name == taken.name.replace("1", "2")
    assert taken.stat().st_size == 0 if format == "gif" else not list(taken.iterdir())


def test_without_hard_links_nothing_is_replaced_either(place, monkeypatch):
    def no_links(*_paths, **_options):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(whole, "next_number", lambda *_: 1)
    (place.folder / "clip_00001_.gif").write_text("of another program")
    (file,) = save(place, "gif")
    assert file.name == "clip_00002_.gif" and count_frames(file) == 2
    assert (place.folder / "clip_00001_.gif").read_text() == "of another program"
    assert len(list(place.folder.iterdir())) == 2


def test_a_lock_held_by_another_does_not_stop_a_run(place, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(whole, "_TURNS", 2)
    with open(place.folder / "x", "w"):
        handle = os.open(place.folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert save(place, "gif")[0].name == "clip_00001_.gif"
        os.close(handle)


@needs_fork
@pytest.mark.parametrize("format", ["png frames", "mp4-h264"])
def test_a_run_after_a_killed_one_works(place, format):
    def endless():
        while True:
            yield torch.rand(64, 64, 3)

    child = in_a_child(lambda: save(place, format, endless()))
    deadline = time.monotonic() + 60
    while not list(place.folder.glob("*/00001.png" if format == "png frames" else ".*part*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = place.folder.iterdir()
    assert left.name.startswith(".")
    assert save(place, format)[0].relative_to(place.folder).parts[0].startswith("clip_00001_")
    assert left.exists()  # it could be that of a run at work

    yesterday = time.time() - whole.LEFTOVER_AGE_S - 60
    deadline = time.monotonic() + 60
    while left.exists():  # ffmpeg may still write its last bytes
        assert time.monotonic() < deadline
        os.utime(left, (yesterday, yesterday))
        save(place, "gif")
    assert not list(place.folder.glob(".*"))


def test_only_our_old_leftovers_are_removed(place, tmp_path):
    old = time.time() - whole.LEFTOVER_AGE_S - 60
    others = [place.folder / name for name in (".clip.part", "wan_director.part", ".wan_director-1.part", "clip.mp4")]
    for path in others:
        path.touch()
        os.utime(path, (old, old))
    (tmp_path / "precious").touch()
    link = place.folder / ".wan_director-0123456789abcdef.part.mp4"
    link.symlink_to(tmp_path / "precious")
    os.utime(link, (old, old), follow_symlinks=False)
    remove_leftovers(place.folder)
    assert sorted(place.folder.iterdir()) == sorted([*others, link])
    remove_leftovers(place.folder / "nowhere")


@pytest.mark.parametrize("make", [unfinished_file, unfinished_folder])
def test_a_link_in_the_place_of_an_unfinished_file_is_never_followed(place, tmp_path, monkeypatch, make):
    (tmp_path / "precious").write_text("precious")
    tokens = iter(["0" * 16, "1" * 16, "2" * 16])
    monkeypatch.setattr(whole.secrets, "token_hex", lambda _: next(tokens))
    ending = () if make is unfinished_folder else ("mp4",)
    suffix = f".{ending[0]}" if ending else ""
    (place.folder / f".wan_director-{'0' * 16}.part{suffix}").symlink_to(tmp_path / "precious")
    (place.folder / f".wan_director-{'1' * 16}.part{suffix}").symlink_to(tmp_path / "nowhere")
    with make(place.folder, *ending) as path:
        assert "2" * 16 in path.name and not path.is_symlink()
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, ValueError])
@pytest.mark.parametrize("format", ["mp4-h264", "png frames"])
def test_nothing_is_left_when_any_exception_unwinds(place, raised, format):
    def broken():
        yield torch.zeros(16, 16, 3)
        raise raised

    with pytest.raises(raised):
        save(place, format, broken())
    assert list(place.folder.iterdir()) == []


def test_a_failure_to_read_a_model_is_not_called_one_of_the_folder(place):
    """Frames may still be in the making while they are written."""

    def broken():
        yield torch.zeros(16, 16, 3)
        raise FileNotFoundError("model.safetensors")

    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        save(place, "mp4-h264", broken())


@pytest.mark.parametrize(("format", "files"), [("gif", 1), ("png frames", 2)])
def test_files_are_on_disk_before_they_have_their_name(place, monkeypatch, format, files):
    events = []
    fsync, link, rename = os.fsync, os.link, os.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), fsync(handle)))
    monkeypatch.setattr(os, "link", lambda *paths: (events.append("name"), link(*paths)))
    monkeypatch.setattr(os, "rename", lambda *paths: (events.append("name"), rename(*paths)))
    save(place, format)
    before = events.index("name")
    assert events[:before].count("sync") >= files
    assert os.name == "nt" or events[before + 1 :] == ["sync"]  # the folder with the new name


def test_numbers_do_not_depend_on_the_spelling_of_letters(place):
    (place.folder / "e\u0301_00007_.mp4").touch()
    assert next_number(place.folder, "\xe9") == 8
    assert next_number(place.folder, "\xc9") == 8


def test_publishing_goes_on_behind_the_place_that_was_found(place):
    with unfinished_file(place.folder, "txt") as file:
        assert publish(file, place._replace(counter=9), "txt").name == "clip_00009_.txt"
