"""The table of docs/models.md says what the tests show, of every model."""

from __future__ import annotations

import re

import pytest

from .model_table import BEGIN, END, HEAD, PAGE, ROOT, TESTED, distance, row
from .test_wan_2026 import ROWS

TABLE = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip().splitlines()
FIGURE = re.compile(r"\d\.\de-\d\d|[+-]\d+\.\d %")


def test_every_model_has_its_line_as_it_is_generated():
    """But for the figures, which the last run measured."""
    assert TABLE[:2] == HEAD.splitlines()
    assert [FIGURE.sub("…", line) for line in TABLE[2:]] == [row(name, figures=False) for name in ROWS]


def test_its_figures_are_within_the_limits():
    apart = [float(figure) for line in TABLE for figure in re.findall(r"\d\.\de-\d\d", line)]
    planned = [float(figure) for line in TABLE for figure in re.findall(r"([+-]\d+\.\d) %", line)]
    assert len(apart) >= 10 and max(apart) <= 1e-5
    assert len(planned) >= 12 and max(map(abs, planned)) <= 10


@pytest.mark.parametrize("name", TESTED)
def test_the_tests_of_a_model_that_runs_are_there(name):
    assert all(each.fate == "runs" for each in ROWS[name])
    tested = TESTED[name]
    for test in (tested.parity, tested.wired, tested.swapped, tested.lora):
        file, function = test.split("::")
        assert f"def {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test


@pytest.mark.parametrize("name", ["Uni3C", "Phantom"])
def test_a_figure_is_that_of_the_recorded_outputs(name):
    """To a factor, since kernels of another CPU round otherwise."""
    (line,) = [line for line in TABLE if line.startswith(f"| {name} |")]
    (figure,) = re.findall(r"\d\.\de-\d\d", line)
    assert 1 / 8 <= distance(TESTED[name].pairs) / float(figure) <= 8
