"""A folder of made videos becomes the clips, captions and files that are known beforehand; hostile ones are refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from wan_director.__main__ import main
from wan_director.common.errors import InvalidInputError
from wan_director.engine.local import LocalRuntime
from wan_director.media.video_reading import probe_video, read_span
from wan_director.tests.tuning.preparation import made
from wan_director.tuning.preparation.prepare import Ways, prepare
from wan_director.tuning.preparation.results.records import RefusedVideo
from wan_director.tuning.preparation.results.report import report
from wan_director.tuning.preparation.settings import OPTIONAL, SCORES, Preparation, Range

pytest.importorskip("scenedetect", reason="needs PySceneDetect")

NAME = "a <b> & 'c'.mp4"
SMALL = Preparation(shortest=9, longest=21)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shots in a file with an odd name and a caption, a copy of the first, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("videos")
    first = made.moved(1, 24, shift=(2, 0))
    made.write(folder / NAME, np.concatenate([first, made.moved(2, 14, shift=(0, -1)), made.moved(3, 12)]))
    (folder / NAME).with_suffix(".txt").write_text("a cloudy\nwall\n")
    made.write(folder / "sub" / "copy.mkv", first[:21])
    hostile(folder, first)
    return folder


def hostile(folder: Path, frames: np.ndarray) -> None:
    long = np.concatenate([frames, frames[::-1]])
    whole = made.write(folder / "whole.mkv", np.concatenate([long, long]), options=["-g", "8"]).read_bytes()
    (folder / "truncated.mkv").write_bytes(whole[: len(whole) // 2])
    whole = made.write(folder / "whole.mp4", long).read_bytes()
    (folder / "headless.mp4").write_bytes(whole[: len(whole) // 2])
    faststart = ["-pix_fmt", "yuv420p", "-g", "8", "-bf", "0", "-movflags", "+faststart"]
    whole = made.write(folder / "whole.mp4", np.concatenate([long, long]), options=faststart).read_bytes()
    (folder / "broken.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    (folder / "whole.mkv").unlink(), (folder / "whole.mp4").unlink()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video " * 500)
    made.write(folder / "one.mp4", frames[:1])
    made.write(folder / "short.mp4", frames[:6])
    huge = made.write(folder / "huge.avi", frames[:2], options=["-c:v", "huffyuv"]).read_bytes()
    width, height = made.WIDTH.to_bytes(4, "little"), made.HEIGHT.to_bytes(4, "little")
    large = (16_000).to_bytes(4, "little") + (9_000).to_bytes(4, "little")
    (folder / "huge.avi").write_bytes(huge.replace(width + height, large))


REASONS = {
    "truncated.mkv": "breaks off",
    "headless.mp4": "cannot be read as a video",
    "broken.mp4": "breaks off",
    "empty.mp4": "is empty",
    "text.mp4": "cannot be read as a video",
    "one.mp4": "has one frame",
    "short.mp4": "No shot of it fills 9 frames",
    "huge.avi": "16000x9000",
}


@pytest.fixture(scope="module")
def done(videos, tmp_path_factory) -> tuple[Path, object]:
    out = tmp_path_factory.mktemp("results") / "out"
    return out, prepare(videos, out, SMALL, Ways(trigger="sks"), LocalRuntime("cpu"))


def test_every_hostile_video_is_refused_with_its_reason(done):
    found = {each.name: each.why for each in done[1].refused}
    assert found.keys() == REASONS.keys()
    for name, words in REASONS.items():
        assert words in found[name], found[name]


def test_clips_begin_and_end_with_the_shots_and_have_1_plus_4k_frames(done):
    out, prepared = done
    of_first = [clip for clip in prepared.clips if clip.source.name == NAME]
    assert [(clip.excerpt.numbers[0], len(clip.excerpt.numbers)) for clip in of_first] == [(0, 21), (24, 13), (38, 9)]
    assert [clip.measured.camera for clip in of_first] == ["pan left", "tilt down", "still"]
    assert [clip.why for clip in of_first][:2] == [(), ()]
    assert of_first[2].why == ("motion is 0, kept at least 1", "still is 1, kept at most 0.5")
    (copy,) = (clip for clip in prepared.clips if clip.source.name == "sub/copy.mkv")
    assert copy.why == (f"duplicate of {of_first[0].name(SMALL)}",)


def test_files_hold_the_frames_that_were_taken(done, videos):
    out, prepared = done
    source = probe_video(videos / NAME)
    assert sorted(path.stem for path in (out / "clips").glob("*.mp4")) == sorted(c.name(SMALL) for c in prepared.kept)
    for clip in prepared.kept:
        video = probe_video(out / "clips" / f"{clip.name(SMALL)}.mp4")
        numbers = clip.excerpt.numbers
        assert video.fps == 16 and len(video.times) == len(numbers)
        own = np.stack([frame.numpy() for frame in read_span(video)]).astype(int)
        theirs = np.stack([frame.numpy() for frame in read_span(source, numbers[0], len(numbers))])
        assert np.abs(own - theirs).mean() < 3  # of 255: a second coding at crf 12
        caption = (out / "clips" / f"{clip.name(SMALL)}.txt").read_text()
        assert caption == "sks, a cloudy wall\n"


def test_the_dataset_is_in_musubis_form(done):
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11 or later")
    out, prepared = done
    found = tomllib.loads((out / "dataset.toml").read_text(encoding="utf-8"))
    (only,) = found["datasets"]
    assert found["general"] == {
        "resolution": [832, 480],
        "caption_extension": ".txt",
        "batch_size": 1,
        "enable_bucket": True,
        "bucket_no_upscale": True,
    }
    assert Path(only["video_directory"]) == out / "clips" and only["cache_directory"] != only["video_directory"]
    assert (only["frame_extraction"], only["max_frames"]) == ("full", 21)
    lines = [json.loads(line) for line in (out / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(out / line["video_path"]).is_file() for line in lines] == [True] * len(prepared.kept)
    with (out / "clips.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["keep"] for row in rows].count("yes") == len(prepared.kept)
    assert {row["video"] for row in rows} >= REASONS.keys()
    usual = [name for name in SCORES if name not in OPTIONAL]
    assert all(float(row[name]) >= 0 for row in rows if row["clip"] for name in usual)
    assert float(rows[0]["motion"]) == pytest.approx(2 / made.HEIGHT * 1600, rel=0.1)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_second_run_changes_nothing_and_a_broken_off_one_goes_on(done, videos, tmp_path):
    out, first = done
    before = state(out)
    again = prepare(videos, out, SMALL, Ways(trigger="sks"), LocalRuntime("cpu"))
    assert again == first and state(out) == before
    # As it lies after an interrupt: one clip measured and none written; the other answers are found out again.
    part = tmp_path / "part"
    shutil.copytree(out / "found", part / "found")
    left = sorted((part / "found").iterdir())
    for path in left[1:]:
        path.unlink()
    left[0].write_text("{")
    resumed = prepare(videos, part, SMALL, Ways(trigger="sks"), LocalRuntime("cpu"))
    assert resumed == first
    strip = {"dataset.toml"}  # it holds the folder's own path
    ours = {name: data for name, (_, data) in state(part).items() if name not in strip}
    assert ours == {name: data for name, (_, data) in before.items() if name not in strip}


def test_other_settings_remove_clips_and_leave_captions_that_were_corrected(videos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(videos / NAME, few)
    out = tmp_path / "out"
    one, two = prepare(few, out, SMALL, Ways(), LocalRuntime("cpu")).kept
    caption = out / "clips" / f"{two.name(SMALL)}.txt"
    assert caption.read_text() == ""
    caption.write_text("by hand\n")
    (out / "clips" / "mine.mp4").write_bytes(b"of the user")
    strict = replace(SMALL, filters=(*SMALL.filters, ("fastest", Range(15.0, None))))
    assert [clip.name(SMALL) for clip in prepare(few, out, strict, Ways(), LocalRuntime("cpu")).kept] == [
        one.name(SMALL)
    ]
    assert {path.name for path in (out / "clips").glob("*.mp4")} == {f"{one.name(SMALL)}.mp4", "mine.mp4"}
    assert prepare(few, out, SMALL, Ways(), LocalRuntime("cpu")).kept[1].caption == "by hand"
    assert caption.read_text() == "by hand\n"


def test_processes_find_the_same_as_one(done, videos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for name in (NAME, "one.mp4"):
        shutil.copy(videos / name, few)
    alone = prepare(few, tmp_path / "a", SMALL, Ways(), LocalRuntime("cpu"))
    spread = prepare(few, tmp_path / "b", SMALL, Ways(jobs=2), LocalRuntime("cpu"))
    assert spread == alone
    for path in (tmp_path / "a" / "clips").iterdir():
        assert (tmp_path / "b" / "clips" / path.name).read_bytes() == path.read_bytes()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_report_shows_each_clip_with_names_escaped_and_needs_no_other_file(done):
    page = _Page()
    page.feed(report(done[1]))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("li") == tags.count("img") == len(done[1].clips) and "b" not in tags and "script" not in tags
    assert NAME in page.text and "motion is 0, kept at least 1" in page.text
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert all(words in page.text for words in REASONS.values())


def test_the_command_says_what_it_kept_and_where(done, videos, tmp_path, capsys):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(videos / NAME, few)
    out = tmp_path / "out"
    words = ["prepare", str(few), "--out", str(out), "--shortest", "9", "--longest", "21", "--filter", "still="]
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.out == f"{out}{os.sep}dataset.toml\n{out}{os.sep}report.html\n"
    assert "2 of 3 clips are kept; dropped for: motion 1." in told.err and "2 clips have no caption." in told.err
    assert main([*words, "--filter", "motion=900:"]) == 1
    assert "None of 3 clips is kept" in capsys.readouterr().err and (out / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--longest", "80"], "A clip has 1 + 4k frames, got 80"),
        (["--shortest", "1"], "The shortest clip has 5 frames"),
        (["--fps", "0"], "1 to 120 frames per second"),
        (["--filter", "beauty=1:"], "is no filter"),
        (["--filter", "aesthetic=5:"], "is no filter"),
        (["--filter", "motion=9:2"], "has no range"),
        (["--filter", "motion=5"], "has no range"),
        (["--filter", "motion=nan:"], "has no range"),
        (["--filter", "text=:0.1"], "Let `measure` name text, too"),
        (["--resolution", "big"], "width x height"),
        (["--caption-url", "somewhere"], "is no address"),
        (["--jobs", "0"], "1 process or more"),
    ],
)
def test_refusals_of_the_command(words, sentence, videos, tmp_path, capsys):
    assert main(["prepare", str(videos / "sub"), "--out", str(tmp_path / "out"), *words]) == 1
    assert sentence in capsys.readouterr().err


def test_of_two_alike_the_one_with_a_caption_is_kept(videos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(videos / "sub" / "copy.mkv", few / "a.mkv")
    shutil.copy(few / "a.mkv", few / "b.mkv")
    kept = prepare(few, tmp_path / "none", SMALL, Ways(), LocalRuntime("cpu")).kept
    assert [(clip.source.name, clip.caption) for clip in kept] == [("a.mkv", "")]
    (few / "b.txt").write_text("a wall")
    kept = prepare(few, tmp_path / "one", SMALL, Ways(), LocalRuntime("cpu")).kept
    assert [(clip.source.name, clip.caption) for clip in kept] == [("b.mkv", "a wall")]


def test_the_trigger_alone_is_no_caption_and_gives_way_to_one(videos, tmp_path, capsys):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(videos / "sub" / "copy.mkv", few / "a.mkv")
    words = [
        "prepare",
        str(few),
        "--out",
        str(tmp_path / "out"),
        "--shortest",
        "9",
        "--longest",
        "21",
        "--trigger",
        "sks",
    ]
    assert main(words) == 0 and "1 clip has no caption but the trigger. Write it" in capsys.readouterr().err
    (caption,) = (tmp_path / "out" / "clips").glob("*.txt")
    assert caption.read_text() == "sks\n"
    (few / "a.txt").write_text("a wall")
    assert main(words) == 0 and "no caption" not in capsys.readouterr().err
    assert caption.read_text() == "sks, a wall\n"


def test_a_video_that_is_left_out_is_named_once(done):
    told = {each.name: each.told() for each in done[1].refused}
    assert told["empty.mp4"] == "empty.mp4 is left out: it is empty. Copy it again."
    assert told["short.mp4"].startswith("short.mp4 is left out: No shot of it fills 9 frames at 16 per second; the ")
    assert RefusedVideo("sub/a.mp4", "a.mp4 is empty.").told() == "sub/a.mp4 is left out: it is empty."


def test_a_folder_without_videos_is_refused(tmp_path):
    (tmp_path / "out" / "clips").mkdir(parents=True)
    (tmp_path / "out" / "clips" / "own.mp4").touch()
    with pytest.raises(InvalidInputError, match="There is no video"):
        prepare(tmp_path, tmp_path / "out", SMALL, Ways(), LocalRuntime("cpu"))
    with pytest.raises(InvalidInputError, match="and none are looked for. Give another folder for the results"):
        prepare(tmp_path / "out", tmp_path / "out", SMALL, Ways(), LocalRuntime("cpu"))
    with pytest.raises(InvalidInputError, match="is no folder"):
        prepare(tmp_path / "none", tmp_path / "out", SMALL, Ways(), LocalRuntime("cpu"))
