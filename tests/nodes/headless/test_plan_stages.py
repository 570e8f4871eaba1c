"""What a plan says of each stage: of files that are to come, and of what does not fit."""

from __future__ import annotations

import pytest
from wan_director.__main__ import main
from wan_director.memory.budget import gigabytes
from wan_director.model_loading.publishing.known_files import known_file


@pytest.fixture(autouse=True)
def without_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def planned(capsys, code: int, *arguments: str) -> tuple[str, str]:
    """Standard output and standard error of a plan."""
    assert main(["plan", *arguments]) == code
    return capsys.readouterr()


def test_every_stage_that_does_not_fit_has_its_remedy(capsys):
    out, err = planned(capsys, 1, "t2v_14B", "--vram", "3GB")
    assert out.count("does not fit, this is the least it takes") == 2
    encode, sample = err.splitlines()
    assert encode.startswith("wan-director: Wan Text Encode (node ") and "device cpu in Load Wan Text Encoder" in encode
    assert sample.startswith("Wan Sampler (node ") and "does not fit into 2.0 GB" in sample


def test_a_file_to_come_is_as_large_as_its_download(capsys):
    """Of fp8 files the embedding has 16 bits; weights that are cast take less than their file."""
    out, _ = planned(capsys, 0, "t2v_14B_lora_4_steps", "--vram", "24GB")
    for name in ("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan2.1_t2v_14B_fp8_scaled.safetensors"):
        assert f"{name} ({gigabytes(known_file(name).size_bytes)}, not downloaded yet)" in out
    out, _ = planned(capsys, 0, "t2v_14B", "--vram", "24GB", "--set", "Load Wan Text Encoder.precision=fp8_scaled")
    assert "umt5_xxl_fp16.safetensors (6.7 GB; its file of 11.4 GB is not downloaded yet)" in out
