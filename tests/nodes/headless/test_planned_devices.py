"""`wan-director plan --gpus N`: what each of several cards holds and sends, and how much faster they are."""

from __future__ import annotations

import re

from wan_director.__main__ import main


def planned(capsys, *options: str) -> str:
    assert main(["plan", "t2v_14B", "--gpu-memory", "24GB", *options]) == 0
    return capsys.readouterr().out


def test_several_cards_share_a_step(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = planned(capsys, "--gpus", "4")
    assert out.startswith("Memory of each of 4 cards: 24.0 GB.")
    assert "shared by 4 devices, 1 pass of a step for every 2 of them: each sends 32." in out
    assert re.search(r"3\.\d times as fast as one device, 9\d% of what 4 could be", out)
    assert main(["plan", "t2v_14B", "--vram", "24GB", "--gpus", "0"]) == 1
    assert "one card or more, got --gpus 0" in capsys.readouterr().err
    assert planned(capsys, "--gpus", "1") == planned(capsys)
    assert "shared" not in planned(capsys)
