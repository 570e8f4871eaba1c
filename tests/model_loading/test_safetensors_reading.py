"""Sound files: everything the safetensors package writes is read, bit for bit, without copies."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from wan_director.common.errors import CheckpointError, MissingFileError
from wan_director.model_loading.files.checkpoint import TORCH_DTYPES
from wan_director.model_loading.files.file_data import FileData
from wan_director.model_loading.files.safetensors_file import SafetensorsFile
from wan_director.model_loading.opening import open_checkpoint

DTYPES = [dtype for dtype in TORCH_DTYPES.values() if dtype != torch.complex64]


def _mixed_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    weights = {f"a.{dtype}": torch.randint(0, 2, (5, 3), generator=generator).to(dtype) for dtype in DTYPES}
    return {**weights, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "long": torch.rand(1, 1, 7, 1, 2)}


@pytest.mark.parametrize("use_map", [True, False], ids=["mapped", "by offset"])
def test_every_dtype_and_shape_is_read_exactly(tmp_path: Path, use_map: bool) -> None:
    weights, path = _mixed_weights(), tmp_path / "x.safetensors"
    save_file(weights, path, metadata={"made": "here"})
    file = SafetensorsFile(path, use_map=use_map)
    assert file.metadata == {"made": "here"}
    assert file.tensors.keys() == weights.keys()
    with safe_open(path, "pt") as reference:
        for name in weights:
            read = file.read(name)
            assert (read.dtype, read.shape) == (weights[name].dtype, weights[name].shape)
            assert file.tensors[name].shape == tuple(read.shape)
            assert torch.equal(read.view(torch.uint8) if read.ndim else read, _bytes(reference.get_tensor(name)))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.uint8) if tensor.ndim else tensor


def _anonymous_kb() -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+) kB", text, re.MULTILINE)[1])


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux to measure memory")
def test_a_mapped_tensor_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    save_file({"w": torch.ones(64, 1_000_000, dtype=torch.bfloat16)}, path)  # 128 MB
    before = _anonymous_kb()
    weight = SafetensorsFile(path, use_map=True).read("w")
    assert weight.aminmax() == (1, 1)
    assert _anonymous_kb() - before < 8_000


def test_a_file_larger_than_memory_is_read(header_file) -> None:
    path = header_file({"w": ("BF16", (1_000_000, 100_000)), "end": ("F32", (4,))})  # 200 GB, all of it a hole
    file = SafetensorsFile(path, use_map=True)
    assert file.read("w")[-1, -8:].eq(0).all()
    assert file.read("end").eq(0).all()


def test_writing_to_a_weight_changes_neither_the_file_nor_other_readers(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.zeros(100_000, dtype=torch.bfloat16)}, path)
    SafetensorsFile(path, use_map=True).read("w").add_(1)
    assert SafetensorsFile(path, use_map=True).read("w").eq(0).all()


def test_mapped_tensors_outlive_the_reader_and_the_file_name(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.arange(1000.0)}, path)
    weight = SafetensorsFile(path, use_map=True).read("w")
    path.unlink()
    assert torch.equal(weight, torch.arange(1000.0))


def test_unaligned_data_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"b": torch.arange(10.0)}, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    shifted = (length + 1).to_bytes(8, "little") + data[8 : 8 + length] + b" " + data[8 + length :]
    path.write_bytes(shifted)
    assert torch.equal(SafetensorsFile(path, use_map=True).read("b"), torch.arange(10.0))


def test_a_file_that_changed_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.arange(1000.0)}, path)
    mapped, by_offset = SafetensorsFile(path, use_map=True), SafetensorsFile(path, use_map=False)
    path.write_bytes(path.read_bytes()[:2000])
    for file in (mapped, by_offset):
        with pytest.raises(CheckpointError, match="while it was being read"):
            file.read("w")


def _save_parts(folder: Path) -> dict[str, torch.Tensor]:
    weights = {f"layer.{index}.weight": torch.full((4, 4), float(index)) for index in range(5)}
    names = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    parts = (dict(list(weights.items())[:2]), dict(list(weights.items())[2:]))
    for name, part in zip(names, parts):
        save_file(part, folder / name)
    places = {key: name for name, part in zip(names, parts) for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return weights


@pytest.mark.parametrize("choice", ["", "model.safetensors.index.json", "model-00002-of-00002.safetensors"])
def test_a_split_model_opens_from_its_folder_its_index_or_a_part(tmp_path: Path, choice: str) -> None:
    weights = _save_parts(tmp_path)
    checkpoint = open_checkpoint(tmp_path / choice)
    assert checkpoint.tensors.keys() == weights.keys()
    assert all(torch.equal(checkpoint.read(key), value) for key, value in weights.items())
    assert checkpoint.size_bytes == sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    _save_parts(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    for choice in ("model.safetensors.index.json", "model-00002-of-00002.safetensors"):
        with pytest.raises(MissingFileError, match=r"needs 2 parts, 1 are missing \(first: model-00001"):
            open_checkpoint(tmp_path / choice)


def test_a_part_of_another_download_is_refused(tmp_path: Path) -> None:
    _save_parts(tmp_path)
    save_file({"layer.0.weight": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="1 tensors that are in none of its parts"):
        open_checkpoint(tmp_path)
    save_file({"layer.4.weight": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="do not belong together"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a\\b", "C:x", "..", "", 7, "a/b.safetensors"])
def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path, name: object) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(CheckpointError, match="outside its folder"):
        open_checkpoint(index)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": []}}', "[" * 100_000])
def test_a_broken_index_is_refused(tmp_path: Path, text: str) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(CheckpointError, match="is not the index of a split model"):
        open_checkpoint(index)


def test_folders_that_are_no_model_are_explained(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no .safetensors file"):
        open_checkpoint(tmp_path)
    for name in "ab":
        save_file({"w": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"several models \(a.safetensors, b.safetensors\)"):
        open_checkpoint(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="whole diffusers pipeline"):
        open_checkpoint(tmp_path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MissingFileError, match="There is no file"):
        open_checkpoint("nowhere.safetensors")


@pytest.mark.parametrize("use_map", [True, False])
def test_a_file_that_is_removed_while_it_is_read_is_named(tmp_path: Path, use_map: bool) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(bytes(64))
    data = FileData(path, 64, use_map)
    path.unlink()
    with pytest.raises(CheckpointError, match="x.safetensors cannot be opened any more .*: put it back"):
        data.read(0, torch.float32, 4)
