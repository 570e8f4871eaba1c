"""The loading benchmark, on a checkpoint small enough for a test."""

from __future__ import annotations

import mmap
import sys
import time
from pathlib import Path

import pytest
import torch
from wan_director.benchmarks import load_14b
from wan_director.benchmarks.random_checkpoint import module_shapes, write_random_checkpoint
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT

SMALL = DiTConfig(dim=128, ffn_dim=256, heads=1, layers=1)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def write_small(folder: Path) -> Path:
    with torch.device("meta"):
        shapes = module_shapes(WanDiT(SMALL))
    file = folder / "random-small-bf16.safetensors"
    write_random_checkpoint(file, shapes)
    return file


def test_loading_is_measured(tmp_path):
    result = load_14b.measure_load(write_small(tmp_path), "fp8_scaled", forward=True)
    matrices = 8 * 128 * 128 + 2 * 128 * 256
    rows = 8 * 128 + 128 + 256
    with torch.device("meta"):
        every = sum(value.numel() for value in WanDiT(SMALL).state_dict().values())
    assert result.weight_bytes == 2 * (every - matrices) + matrices + 4 * rows
    assert result.anonymous_peak >= result.anonymous_before > 1e6
    assert result.seconds > 0
    assert result.forward_s > 0


def test_the_watch_sees_memory_that_is_gone_at_the_end():
    with load_14b.watch_anonymous() as peak:
        before = load_14b.anonymous_bytes()
        block = mmap.mmap(-1, 80_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # no freed heap is taken again
        block.write(bytes(1) * 80_000_000)
        deadline = time.monotonic() + 30
        while peak.bytes < before + 70e6 and time.monotonic() < deadline:
            time.sleep(0.01)  # the watch is another thread
        block.close()
        assert load_14b.anonymous_bytes() < before + 20e6
    assert peak.bytes > before + 70e6


def test_mapped_files_are_not_counted(tmp_path):
    file = tmp_path / "big.bin"
    file.write_bytes(bytes(50_000_000))
    before = load_14b.anonymous_bytes()
    mapped = torch.from_file(str(file), shared=True, size=50_000_000, dtype=torch.uint8)
    assert int(mapped.sum()) == 0
    assert load_14b.anonymous_bytes() - before < 20e6


def test_the_command_writes_once_and_reports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(load_14b, "checkpoint_shapes", lambda kind, preset: {})
    file = write_small(tmp_path)
    written = file.stat().st_mtime_ns
    assert load_14b.main([str(tmp_path), "--preset", "small"]) == 0
    out = capsys.readouterr().out
    assert "loaded          as fp8_scaled in" in out
    assert "of the weights beside the" in out
    assert file.stat().st_mtime_ns == written


def test_an_unknown_preset_is_refused(tmp_path, caplog):
    assert load_14b.main([str(tmp_path), "--preset", "t2v-15B"]) == 2
    assert "There is no transformer preset 't2v-15B'" in caplog.text
