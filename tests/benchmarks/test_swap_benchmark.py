"""The benchmark of swapping, at its smallest."""

import json

import torch
from wan_director.benchmarks import swap
from wan_director.common.shapes import VideoShape


def test_policies_are_timed_and_give_the_same_bits():
    for fp8 in (False, True):
        results = swap.measure(swap.TINY, VideoShape(1, 32, 48), torch.device("cpu"), fp8=fp8, repeats=1)
        assert [result.swapped for result in results] == [0, 4, 8]
        assert all(result.same_bits and len(result.seconds) == 1 for result in results)
        assert results[0].copied_bytes == 0 < 2 * results[1].copied_bytes == results[2].copied_bytes


def test_the_command_writes_what_it_measured(tmp_path):
    file = tmp_path / "swap.json"
    assert swap.main(["--tiny", "--size", "32x48x1", "--repeats", "1", "--device", "cpu", "--output", str(file)]) == 0
    record = json.loads(file.read_text())
    assert len(record["results"]) == 3 and record["machine"]["device"] == "cpu"
