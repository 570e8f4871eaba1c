"""What is wrong with a file is said with the file's name and what to do, once, whenever it is found."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.errors import CheckpointError, FileFault, MissingFileError
from wan_director.dit import branches
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading import files, formats, kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.files.checkpoint import Checkpoint
from wan_director.model_loading.files.faults import damaged, incomplete, naming
from wan_director.model_loading.files.file_data import FileData
from wan_director.model_loading.files.gguf_file import GgufFile
from wan_director.model_loading.files.safetensors_file import SafetensorsFile
from wan_director.model_loading.filling import fill
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition import configs, tensors
from wan_director.model_loading.recognition.detect import inspect_as

from .conftest import random_weights

DIT = DiTConfig(dim=48, ffn_dim=64, heads=2, layers=1, text_dim=16, freq_dim=32)
METADATA = {"wan_director.family": "tiny", "wan_director.heads": "2"}
MATRIX = "blocks.0.ffn.0.weight"
READERS = [
    *(path for room in (files, formats, branches) for path in Path(room.__path__[0]).glob("*.py")),
    *(Path(str(module.__file__)) for module in (configs, tensors)),
]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    with torch.device("meta"):
        module = WanDiT(DIT)
    return random_weights(module)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (FileFault("is cut off"), "a.gguf is cut off: download it again."),
        (FileFault("is of 2022", "use a newer one"), "a.gguf is of 2022: use a newer one."),
        (FileFault("is of 2022", "Use a newer one"), "a.gguf is of 2022. Use a newer one."),
        (FileFault("is a picture: choose a model", ""), "a.gguf is a picture: choose a model."),
        (FileFault("is no matrix", "Use bf16", "tensor 'x'"), "a.gguf: tensor 'x' is no matrix. Use bf16."),
        (damaged("'x' is empty"), "a.gguf is damaged: 'x' is empty. Download it again."),
        (incomplete(2_000, 3_000_000), "a.gguf is incomplete (2.0 kB of 3.0 MB): download it again."),
        (incomplete(2_000, 9_000), "a.gguf is incomplete (2.0 of 9.0 kB): download it again."),
        (
            incomplete(100_000_001, 100_000_002),
            "a.gguf is incomplete (100,000,001 of 100,000,002 bytes): download it again.",
        ),
    ],
    ids=str,
)
def test_a_fault_gets_the_name_and_what_to_do(fault: FileFault, sentence: str) -> None:
    with pytest.raises(CheckpointError) as caught, naming(Path("/models/a.gguf")):
        raise fault
    assert type(caught.value) is CheckpointError and str(caught.value) == sentence


def test_within_several_files_it_is_said_of_the_innermost() -> None:
    with pytest.raises(CheckpointError) as caught, naming(Path("whole.gguf")), naming(Path("part-1.gguf")):
        raise FileFault("is cut off")
    assert str(caught.value) == "part-1.gguf is cut off: download it again."


@pytest.mark.parametrize(
    "error", [CheckpointError("b is no model."), MissingFileError("no b."), KeyError("b")], ids=str
)
def test_what_is_said_already_stays(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, naming(Path("a.gguf")):
        raise error
    assert caught.value is error


def test_where_nobody_knows_the_file_it_is_a_sentence_too() -> None:
    assert str(FileFault("is cut off")) == "The file is cut off: download it again."


def test_the_trace_leads_to_where_the_fault_was_found() -> None:
    with pytest.raises(CheckpointError) as caught:
        FileData(Path("/nowhere/b.gguf"), 8, use_map=False).read(0, torch.uint8, 8)
    assert caught.traceback[-1].name == "_opened"


@pytest.fixture
def split(tmp_path: Path, weights: dict[str, Tensor]) -> list[Path]:
    """The index of a model in two parts, and the parts."""
    names = sorted(weights)
    index, parts = tmp_path / "model.safetensors.index.json", [tmp_path / f"m-{n}.safetensors" for n in (1, 2)]
    for part, keys in zip(parts, (names[::2], names[1::2]), strict=True):
        save_file({key: weights[key] for key in keys}, part, METADATA)
    table = {key: parts[number % 2].name for number, key in enumerate(names)}
    index.write_text(json.dumps({"weight_map": table}), encoding="utf-8")
    return [index, *parts]


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_that_goes_before_it_is_read_is_named(split: list[Path], number: int) -> None:
    checkpoint = open_checkpoint(split[0])
    split[number].unlink()
    with pytest.raises(CheckpointError) as caught:
        fill_from(checkpoint)
    name = split[number].name
    assert re.fullmatch(
        rf"{name} cannot be opened any more \(.*\): put it back, and load it again\.", str(caught.value)
    )


def fill_from(checkpoint: Checkpoint) -> None:
    spec = inspect_as(checkpoint, kinds.DIT)
    with torch.device("meta"):
        module = WanDiT(DIT)
    fill(module, checkpoint, spec, torch.float32)


def test_a_part_of_a_gguf_that_shrinks_is_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "wan", split_max_tensors=1)
    for name in ("a", "b"):
        writer.add_tensor(name, np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    first, second = sorted(tmp_path.glob("*.gguf"))
    checkpoint = GgufFile(first, use_map=False)
    second.write_bytes(second.read_bytes()[:-8])
    assert checkpoint.read("a").shape == (4, 32)
    with pytest.raises(
        CheckpointError, match=f"^{second.name} became shorter while it was being read: load it again.$"
    ):
        checkpoint.read("b")


def test_parts_that_share_a_tensor_are_told_of(tmp_path: Path) -> None:
    for number in (1, 2):
        writer = gguf.GGUFWriter(tmp_path / f"m-0000{number}-of-00002.gguf", "wan")
        writer.add_uint16("split.no", number - 1)
        writer.add_uint16("split.count", 2)
        writer.add_tensor("a", np.ones((4, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "m-00002-of-00002.gguf")
    assert str(caught.value) == (
        "m-00002-of-00002.gguf: its 2 parts do not belong together (the tensor 'a' is in two of them). Download them "
        "again into an empty folder."
    )


def test_a_number_format_is_told_of_when_it_is_read(header_file) -> None:
    checkpoint = SafetensorsFile(header_file({"a": ("F4", (4, 8))}))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read("a")
    assert str(caught.value) == (
        "model.safetensors: tensor 'a' has the number format F4, which this version cannot read. Use a bf16, fp16 or "
        "fp32 file."
    )


def test_a_scale_found_wrong_while_filling_is_told_of_once(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    scale = MATRIX.removesuffix("weight") + "scale_weight"
    coded = weights | {MATRIX: weights[MATRIX].to(torch.float8_e4m3fn), scale: torch.ones(7)}
    save_file(coded, tmp_path / "model.safetensors", METADATA)
    with pytest.raises(CheckpointError) as caught:
        load(kinds.DIT, tmp_path / "model.safetensors", device="cpu")
    assert type(caught.value) is CheckpointError
    assert str(caught.value) == (
        f"model.safetensors: the scale {scale!r} has the shape [7], but {MATRIX!r} needs one number or 64, one per "
        "row. Use a file of another publisher."
    )


def names_a_file(node: ast.AST) -> bool:
    """Whether it takes a path's name, writes a path into a text, or makes the error that has a file's name in it."""
    if isinstance(node, ast.Attribute) and node.attr in ("name", "stem"):
        return ast.unparse(node.value).endswith("path")
    if isinstance(node, ast.FormattedValue):
        return any(re.search(r"(?:path|file_name|folder)$", ast.unparse(part)) for part in ast.walk(node.value))
    return isinstance(node, ast.Name) and node.id == "CheckpointError"


@pytest.mark.parametrize(
    "path", [path for path in READERS if path.stem != "faults"], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_readers_leave_the_name_to_the_border(path: Path) -> None:
    """But for a file that is missing, whose name is what is wrong."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    may_name = {
        inner
        for call in calls
        if ast.unparse(call.func).endswith(("MissingFileError", "fullmatch"))
        for inner in ast.walk(call)
    }
    named = [node for node in ast.walk(tree) if node not in may_name and names_a_file(node)]
    assert not named, [f"line {node.lineno}: {ast.unparse(node)}" for node in named]
