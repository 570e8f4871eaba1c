"""The table of docs/formats.md, as assertions: every format loads and computes what plain arithmetic computes."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director.benchmarks import format_matrix
from wan_director.benchmarks.format_matrix import FORMS, Row, to_markdown

# Both sides compute in float32 with the same numbers, in another order: a few roundings of 6e-8 in sums of 256 to 512.
TOLERANCE = 1e-5


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_format_computes_what_its_numbers_say_with_and_without_a_lora(form, tmp_path: Path) -> None:
    row = format_matrix.measure(form, tmp_path)
    assert row.parity_error <= TOLERANCE
    assert max(row.lora_errors) <= TOLERANCE


def test_an_ignored_scale_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most used wrapper multiplies the LoRA by the scale of the weight when there are few tokens."""
    form = next(form for form in FORMS if "scale_weight" in form.name)
    true_adapter = format_matrix.AppliedAdapter

    def attenuated(adapter, strength: float):
        return true_adapter(adapter, strength=strength * 1e-3)

    monkeypatch.setattr(format_matrix, "AppliedAdapter", attenuated)
    row = format_matrix.measure(form, tmp_path)
    assert row.parity_error <= TOLERANCE
    assert min(row.lora_errors) > 1e-2


def test_the_table_is_markdown() -> None:
    lines = to_markdown([Row("GGUF Q8_0", "GGUF (Q8_0)", 2e-7, (0.0, 1e-7, 3e-7))]).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2] == "| GGUF Q8_0 | GGUF (Q8_0) | 2e-07 | 0 | 1e-07 | 3e-07 |"
