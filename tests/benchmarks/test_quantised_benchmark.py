"""The benchmark of quantised matrices and LoRAs runs, and names what it has measured."""

from __future__ import annotations

import pytest
import torch
from wan_director.benchmarks import quantised
from wan_director.dit.config import DiTConfig


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DiTConfig(dim=256, ffn_dim=512, heads=2, layers=1, text_dim=32, freq_dim=16)
    monkeypatch.setattr(quantised, "PRESETS", {"t2v-1.3B": config})
    monkeypatch.setattr(quantised, "LORA_TOKENS", 64)


def test_every_row_is_a_finite_pass(capsys: pytest.CaptureFixture) -> None:
    threads = torch.get_num_threads()
    try:
        assert quantised.main(["--repeats", "1", "--tokens", "16", "40"]) == 0
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| Q8_0")] == ["| Q8_0", "| Q8_0, kept"]
    assert sum("on all matrices" in line for line in lines) == 2


@pytest.mark.parametrize("kind", quantised.FORMATS)
@torch.inference_mode()
def test_the_blocks_of_a_format_are_stored_and_finite(kind: str) -> None:
    model = quantised.make_model(1, quantised.store_as(kind))
    assert model.blocks[0].ffn[0].is_stored and not model.text_embedding[0].is_stored
    (tokens,) = model.trunk([quantised.embed(model, 40)])
    assert tokens.shape == (1, 40, 256) and tokens.isfinite().all()
