"""Damaged graphs, values, names, settings, pictures, videos and command lines: a sentence of ours or success.

The inputs are numbered and always the same; `python -m wan_director.benchmarks.fuzz` tries more of them for longer.
"""

from __future__ import annotations

import warnings

import pytest
from wan_director.benchmarks import fuzz
from wan_director.benchmarks.fuzz_surfaces import SURFACES

INPUTS, SECONDS, FEWEST = 250, 1.5, 3  # of each surface; whichever of two is reached first


@pytest.mark.parametrize("surface", SURFACES)
def test_damaged_input_gives_a_sentence_or_is_taken(tmp_path, surface):
    folder = tmp_path / "files"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fuzz.fuzz(surface, SURFACES[surface].write, folder, first=0, seconds=SECONDS, count=INPUTS)
    assert result.crashes == []
    assert result.inputs > FEWEST
