"""The benchmark of starting and loading, on a tiny file and a process that does nothing."""

from __future__ import annotations

import sys

import pytest
import torch
from wan_director.benchmarks.random_checkpoint import module_shapes, write_random_checkpoint
from wan_director.benchmarks.start_and_load import Took, in_turn, loads, starts
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_lines_are_run_in_turn_and_the_first_time_is_left_out() -> None:
    order = []

    def line(name: str, *seconds: float):
        left = iter(seconds)

        def run() -> Took:
            order.append(name)
            return Took(next(left), 1.0, 0.5)

        return run

    took = in_turn({"a": line("a", 100, 1, 9, 2), "b": line("b", 100, 4, 4, 4)}, 3)
    assert took == {"a": Took(2, 1.0, 0.5), "b": Took(4, 1.0, 0.5)}
    assert order == ["a", "b"] * 4


def test_every_line_of_a_start_is_there_for_each_installation(tmp_path) -> None:
    lines = starts({"now": sys.executable, "before": sys.executable}, tmp_path)
    assert list(lines) == [
        *("import numpy", "import torch", "--help, now", "run tiny_t2v, now", "--help, before", "run tiny_t2v, before"),
    ]
    took = lines["--help, now"]()
    assert took.cpu_s > 0 and took.wall_s > 0 and took.memory == 0


def test_a_file_is_read_cast_and_loaded(tmp_path) -> None:
    file = tmp_path / "small.safetensors"
    with torch.device("meta"):
        shapes = module_shapes(WanDiT(DiTConfig(dim=128, ffn_dim=256, heads=1, layers=1)))
    write_random_checkpoint(file, shapes)
    took = {name: run() for name, run in loads({"now": sys.executable}, file).items()}
    assert list(took) == ["reading the file", "torch alone, no scales", "fp8_scaled, now", "bf16, now"]
    assert all(each.wall_s > 0 for each in took.values()) and took["fp8_scaled, now"].memory > 0
