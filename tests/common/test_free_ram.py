"""What would not fit into RAM is refused; where the free RAM is not known, nothing is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from wan_director.common.errors import OutOfMemory
from wan_director.common.memory import free_ram
from wan_director.common.memory.free_ram import free_ram_bytes, require_ram


def container(folder: Path, limit: str) -> None:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text("700\n")
    (folder / "memory.stat").write_text("anon 500\ninactive_file 200\n")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine with 4 MB free, and a container of 1000 bytes of which 500 are needed."""
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    container(tmp_path, "1000")
    monkeypatch.setattr(free_ram, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(free_ram, "_CONTAINER", tmp_path)
    monkeypatch.setitem(sys.modules, "psutil", None)
    return tmp_path


def test_a_container_s_limit_counts(machine):
    assert free_ram_bytes() == 500
    container(machine, "max")
    assert free_ram_bytes() == 4000 * 1024
    container(machine, "100")
    assert free_ram_bytes() == 0


def test_where_it_is_not_known_nothing_is_refused(machine):
    (machine / "memory.max").unlink()
    (machine / "meminfo").unlink()
    assert free_ram_bytes() is None
    require_ram(10**18, "The frames", "Take fewer.")


def test_what_does_not_fit_is_refused(machine):
    require_ram(500, "The frames", "Take fewer.")
    with pytest.raises(OutOfMemory, match=r"^The frames take 2.0 GB of RAM, and 0.0 GB are free. Take fewer.$"):
        require_ram(2 * 10**9, "The frames", "Take fewer.")


def test_this_machine_has_free_ram():
    free = free_ram_bytes()
    assert free is None or free > 0
