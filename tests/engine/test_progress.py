"""How far the work is, in words: place, rate, time left, and no more of them than can be read."""

from __future__ import annotations

import logging

import pytest
from wan_director.engine.progress import BYTES, INTERVAL_S, Counted, Often, Pace, duration_in_words, rate_in_words
from wan_director.engine.terminal import LOGGED_AFTER_S, LoggedProgress, shown_progress


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_steps_are_told_with_their_rate_and_the_time_left(clock):
    pace = Pace(Counted("Sampling", "step", 20), clock)
    assert pace.words() == "Sampling: step 1 of 20"
    pace.note("high-noise expert, block 3 of 40")
    for step in (1, 2):
        clock.now_s += 12
        pace.reach(step)
    clock.now_s += 6
    assert pace.words() == "Sampling: step 3 of 20, high-noise expert, block 3 of 40, 12.0 s/step, 3 min 30 s left"


def test_bytes_are_told_in_gigabytes_and_their_rate(clock):
    pace = Pace(Counted("Loading x.safetensors", BYTES, 28_600_000_000), clock)
    for done in range(1, 5):
        clock.now_s += 1
        pace.reach(done * 2_100_000_000)
    assert pace.words() == "Loading x.safetensors: 8.4 GB of 28.6 GB, 2.1 GB/s, 9.6 s left"
    pace.reach(28_600_000_000)
    assert pace.words() == "Loading x.safetensors: 28.6 GB of 28.6 GB"
    assert pace.ended() == "Loading x.safetensors: 28.6 GB in 4.0 s, 7.2 GB/s"


def test_the_rate_follows_a_change(clock):
    """The second expert is slower: what the first one took is forgotten after some steps."""
    pace = Pace(Counted("Sampling", "step", 40), clock)
    for step in range(1, 21):
        clock.now_s += 1 if step <= 10 else 4
        pace.reach(step)
    assert "4.0 s/step, 1 min 20 s left" in pace.words()


def test_what_was_done_before_counts_as_done_and_not_as_fast(clock):
    pace = Pace(Counted("Sampling", "step", 40, before=23), clock)
    assert pace.words() == "Sampling: step 24 of 40"
    pace.reach(23)
    for step in (24, 25):
        clock.now_s += 10
        pace.reach(step)
    assert pace.words() == "Sampling: step 26 of 40, 10.0 s/step, 2 min 30 s left"
    clock.now_s += 150
    pace.reach(40)
    assert pace.ended() == "Sampling: went on after step 23 of 40, 17 steps in 2 min 50 s, 10.0 s/step"


def test_what_was_given_up_says_where(clock):
    pace = Pace(Counted("Decoding", "latent frame", 21), clock)
    pace.reach(4)
    assert pace.ended() == "Decoding: stopped at latent frame 5 of 21"


def test_a_single_piece_has_no_rate(clock):
    pace = Pace(Counted("Saving", "frame", 1), clock)
    clock.now_s += 2
    pace.reach(1)
    assert pace.ended() == "Saving: 1 frame in 2.0 s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (211, "3 min 31 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds, words):
    assert duration_in_words(seconds) == words


@pytest.mark.parametrize(
    ("rate", "unit", "words"),
    [(24.2, "frame", "24 frames/s"), (1.25, "layer", "1.2 layers/s"), (0.08, "step", "12.5 s/step"),
     (0.004, "step", "250 s/step"), (2.1e9, BYTES, "2.1 GB/s"), (95e6, BYTES, "95.0 MB/s")],
)  # fmt: skip
def test_rates(rate, unit, words):
    assert rate_in_words(rate, unit) == words


def test_words_are_due_no_more_than_a_few_times_a_second(clock):
    pace = Pace(Counted("Sampling", "step", 20), clock)
    shown = 0
    for _ in range(1000):
        clock.now_s += 0.002
        shown += pace.is_due()
    assert shown == pytest.approx(2 / INTERVAL_S, abs=1)


def test_short_work_has_no_words(clock):
    pace = Pace(Counted("Sampling", "step", 20), clock)
    clock.now_s += 0.9
    assert not pace.is_due(after_s=1)
    clock.now_s += 0.2
    assert pace.is_due(after_s=1) and not pace.is_due(after_s=1)


def test_the_first_passes_at_once(clock):
    often = Often(1, clock)
    assert [often.passes(), often.passes()] == [True, False]
    clock.now_s += 1
    assert often.passes()


def test_a_log_has_two_lines_about_long_work_and_none_about_other(caplog, monkeypatch, clock):
    caplog.set_level(logging.INFO, "wan_director")
    monkeypatch.setattr("wan_director.engine.terminal.Pace", lambda counted: Pace(counted, clock))
    with LoggedProgress(Counted("Sampling", "step", 4)) as short:
        for step in range(1, 5):
            short.update(step)
    assert caplog.messages == []
    with LoggedProgress(Counted("Sampling", "step", 4)) as long:
        for step in range(1, 5):
            clock.now_s += LOGGED_AFTER_S
            long.note("block 1 of 2")
            long.update(step)
    assert caplog.messages == ["Sampling: step 1 of 4, block 1 of 2 ...", "Sampling: 4 steps in 40 s, 10.0 s/step."]


def test_nobody_at_a_terminal_is_no_line_that_moves(capsys):
    assert isinstance(shown_progress(Counted("Sampling", "step", 4)), LoggedProgress)
    assert capsys.readouterr().err == ""
