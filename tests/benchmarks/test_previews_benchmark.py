"""The benchmark of previews, at its smallest."""

import logging

import pytest
import torch
from wan_director.benchmarks import previews
from wan_director.common.shapes import VideoShape
from wan_director.dit.presets import PRESETS


def test_both_ways_are_timed_beside_a_whole_step():
    config, video = previews.SMALL, VideoShape(5, 32, 48)
    colours, sharp = previews.measure(config, video, torch.device("cpu"), side=64)
    assert (colours.way, colours.pictures, sharp.way, sharp.pictures) == ("colours", 2, "sharp", 1)
    assert colours.step_s == sharp.step_s > 0 and min(colours.draw_s, sharp.draw_s, sharp.show_s) > 0
    assert sharp.part == pytest.approx((sharp.draw_s + sharp.show_s) / sharp.step_s)


def test_the_command_prints_a_table(caplog):
    caplog.set_level(logging.INFO)
    assert previews.main(["--tiny", "--size", "32x48x1", "--device", "cpu"]) == 0
    assert "| colours | 1 |" in caplog.text and "| sharp | 1 |" in caplog.text


def test_the_command_knows_the_published_sizes():
    assert previews._parse(["--preset", "t2v-14B"]).preset in PRESETS
