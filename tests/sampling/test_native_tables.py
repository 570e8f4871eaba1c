"""Each schedule of a native name, against the table that ComfyUI's own code gives for it.

`fixtures/native_tables.json` was made by `fixtures/make_native_tables.py` with ComfyUI v0.33.0.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest
import torch
from wan_director.nodes.headless.core_nodes.sampling import SCHEDULE_OF, SCHEDULERS
from wan_director.sampling.schedule import make_schedule

RECORDS = json.loads((Path(__file__).parent / "fixtures" / "native_tables.json").read_text(encoding="utf-8"))
BY_NAME = {name: [*records] for name, records in groupby(RECORDS, key=lambda record: record[0])}


def test_every_native_scheduler_runs_here():
    assert set(BY_NAME) == set(SCHEDULERS) == set(SCHEDULE_OF)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_table_is_native_s(name):
    for _name, steps, shift, expected in BY_NAME[name]:
        ours = make_schedule(SCHEDULE_OF[name], steps, shift).sigmas
        # Native computes in float32, karras with a seventh power.
        torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=2e-6, atol=0)
