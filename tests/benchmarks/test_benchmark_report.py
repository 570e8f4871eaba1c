"""Timing in turn, targets and the files of a report; the rows themselves at their smallest."""

import builtins
import json
from dataclasses import replace

import pytest
import torch
from wan_director.benchmarks import contests
from wan_director.benchmarks.__main__ import main
from wan_director.benchmarks.contests import Place
from wan_director.benchmarks.peak_memory import peak_bytes, peak_bytes_beside_shelf
from wan_director.benchmarks.report import Report, memory_result, timing_result, to_markdown, write_report
from wan_director.benchmarks.suite import Row, memory_rows, timing_rows
from wan_director.benchmarks.timing import Timing, time_in_turn
from wan_director.common.shapes import VideoShape
from wan_director.dit.presets import PRESETS

TIMING = Timing(ours_s=(2.0, 1.0, 9.0), peer_s=(3.0, 4.0, 5.0))


def test_runs_alternate_after_one_warm_up_of_each():
    calls = []
    timing = time_in_turn(lambda: calls.append("ours"), lambda: calls.append("peer"), repeats=3)
    assert calls == ["ours", "peer"] * 4
    assert len(timing.ours_s) == len(timing.peer_s) == 3


def test_speedup_is_the_ratio_of_medians():
    assert TIMING.speedup == 2.0


@pytest.mark.parametrize(("target", "holds"), [(None, None), (2.0, True), (2.1, False)])
def test_a_speed_target_is_a_least_speedup(target, holds):
    assert timing_result(Row("part", "size", lambda place: None, target), TIMING).holds is holds


@pytest.mark.parametrize(("target", "holds"), [(None, None), (0.6, True), (0.59, False)])
def test_a_memory_target_is_a_largest_part(target, holds):
    assert memory_result(Row("part", "size", lambda place: None, target), 60, 100).holds is holds


def test_a_report_is_kept_as_data_and_as_a_page(tmp_path):
    row = Row("DiT", "81 frames", lambda place: None, 0.6)
    report = Report(
        date="2026-01-02",
        dtype="bf16",
        threads=1,
        machine={"cpu": "some CPU", "cores": 2, "system": "Linux"},
        versions={"torch": "2.13.0"},
        load=(1.0, 3.5),
        timings=(timing_result(replace(row, target=3.0), TIMING),),
        memory=(memory_result(row, 2**30, 2**31),),
    )
    page = write_report(report, tmp_path, "trial")
    assert page == tmp_path / "2026-01-02-trial.md" and page.read_text(encoding="utf-8") == to_markdown(report)
    text = page.read_text(encoding="utf-8")
    assert "load 1.0 before and 3.5 after" in text and "some CPU, 2 cores" in text
    assert "| DiT | 81 frames | 2.000 (1.000 to 9.000) | 4.000 (3.000 to 5.000) | 2.00x | >= 3.0x MISSED |" in text
    assert "| DiT | 81 frames | 1.000 | 2.000 | 50.0% | <= 60% holds |" in text
    data = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert data["timings"][0]["speedup"] == 2.0 and data["memory"][0]["ours_bytes"] == 2**30


def test_every_row_has_its_own_name():
    for rows in (timing_rows(True), timing_rows(False), memory_rows(True), memory_rows(False)):
        names = [(row.part, row.size) for row in rows]
        assert len(set(names)) == len(names)


def test_the_targets_are_promised_at_both_sizes():
    promised = [(row.part, row.size) for row in memory_rows(quick=False) if row.target is not None]
    assert len(promised) == 8 and len({size for _, size in promised}) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda place: contests.dit(replace(PRESETS["t2v-1.3B"], layers=1), VideoShape(5, 64, 64), place),
        lambda place: contests.vae_decode(VideoShape(5, 32, 32), place),
        lambda place: contests.vae_decode_stream(VideoShape(5, 32, 32), place),
        lambda place: contests.vae_decode_strips(VideoShape(5, 32, 32), 2, place),
        lambda place: contests.vae_encode(VideoShape(5, 32, 32), place),
        lambda place: contests.vae_encode_strips(VideoShape(5, 32, 32), 2, place),
        lambda place: contests.text_encoder(8, 1, place),
        lambda place: contests.text_encoder_padding(8, 1, place),
    ],
    ids=["dit", "decode", "decode-stream", "decode-strips", "encode", "encode-strips", "text", "text-padding"],
)
def test_both_sides_of_every_contest_run_on_meta(make):
    contest = make(Place("meta", torch.bfloat16))
    assert peak_bytes(contest.ours) > 0 and peak_bytes(contest.peer) > 0
    if contest.ours_beside_shelf is not None:
        assert peak_bytes_beside_shelf(contest.ours_beside_shelf) > 0


def test_a_missing_peer_is_one_sentence(monkeypatch, caplog):
    real_import = builtins.__import__

    def without_diffusers(name, *args, **kwargs):
        if name == "diffusers":
            raise ImportError("No module named 'diffusers'", name=name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_diffusers)
    assert main(["--quick"]) == 2
    assert "diffusers is not installed, and the benchmarks compare with it. Install it with" in caplog.text
