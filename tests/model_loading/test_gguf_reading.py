"""GGUF files of the gguf package are read exactly: types, shapes, metadata, and shapes that ggml cannot hold."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from wan_director.common.errors import CheckpointError
from wan_director.model_loading.files.gguf_file import GgufFile
from wan_director.model_loading.formats.gguf import GGUF
from wan_director.model_loading.opening import open_checkpoint
from wan_director.weights.ggml_types import BLOCK_TYPES
from wan_director.weights.stored import StoredWeight


def _blocks(kind: str, *shape: int) -> tuple[np.ndarray, str]:
    """Zeros in a block type: every scale is 0."""
    block = BLOCK_TYPES[kind]
    return np.zeros((*shape[:-1], shape[-1] // block.elements * block.size_bytes), np.uint8), kind


@pytest.mark.parametrize("use_map", [True, False], ids=["mapped", "by offset"])
def test_plain_numbers_are_read_exactly(write_gguf, use_map: bool) -> None:
    generator = np.random.default_rng(0)
    values = {
        "a": generator.standard_normal((3, 5), np.float32),
        "b.weight": generator.standard_normal((2, 3, 4)).astype(np.float16),
        "c": generator.standard_normal(7),
        "d": generator.integers(-128, 127, (4, 1), dtype=np.int8),
        "e": generator.integers(-9, 9, 3, dtype=np.int32),
    }
    bits = np.array([[0x3F80, 0xC000]], np.uint16)
    path = write_gguf({**values, "f": (bits.view(np.uint8), "BF16")})
    file = GgufFile(path, use_map=use_map)
    for key, value in values.items():
        assert torch.equal(file.read(key), torch.from_numpy(value)), key
        assert file.tensors[key].shape == value.shape
        assert file.tensors[key].size_bytes == value.nbytes
    assert [info.dtype for info in file.tensors.values()] == ["F32", "F16", "F64", "I8", "I32", "BF16"]
    assert torch.equal(file.read("f"), torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16))


@pytest.mark.parametrize("kind", sorted(BLOCK_TYPES))
def test_every_type_has_its_name_shape_and_size(write_gguf, kind: str) -> None:
    packed, _ = _blocks(kind, 6, 512)
    packed[:] = np.arange(packed.size).reshape(packed.shape) % 251
    checkpoint = open_checkpoint(write_gguf({"w": (packed, kind), "after": np.ones(3, np.float32)}))
    info = checkpoint.tensors["w"]
    assert (info.dtype, info.shape, info.elements, info.size_bytes) == (kind, (6, 512), 3072, packed.nbytes)
    assert torch.equal(checkpoint.read("w"), torch.from_numpy(packed))
    assert torch.equal(checkpoint.read("after"), torch.ones(3))


def test_metadata_is_text_and_lists_are_read_on_demand(write_gguf) -> None:
    metadata = {
        "a.text": "ä \N{SNOWMAN}",
        "a.number": 7,
        "a.fraction": 0.5,
        "a.flag": True,
        "a.words": ["one", "", "\u2581two"],
        "a.numbers": [1, -2, 3],
        "a.fractions": [0.5, -1.0],
        "a.long": "x" * 20_000,
    }
    file = GgufFile(write_gguf({"w": np.ones(3, np.float32)}, metadata, arch="t5encoder"))
    texts = {key: value for key, value in file.metadata.items() if key.startswith("a.")}
    assert texts == {"a.text": "ä \N{SNOWMAN}", "a.number": "7", "a.fraction": "0.5", "a.flag": "True"}
    assert file.metadata["general.architecture"] == "t5encoder"
    for name in ("a.words", "a.numbers", "a.fractions"):
        read = file.texts if file.arrays[name].kind == "s" else file.numbers
        assert read(name) == metadata[name]
    assert torch.equal(file.read("w"), torch.ones(3))


def test_another_alignment_is_followed(write_gguf) -> None:
    import gguf

    path = write_gguf({})
    writer = gguf.GGUFWriter(path, "wan")
    writer.add_custom_alignment(512)
    for name in "ab":
        writer.add_tensor(name, np.full(3, ord(name), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(path)
    assert [file.read(name)[0].item() for name in "ab"] == [97.0, 98.0]


def test_version_2_is_read_too(write_gguf) -> None:
    path = write_gguf({"w": np.ones(3, np.float32)})
    path.write_bytes(b"GGUF" + struct.pack("<I", 2) + path.read_bytes()[8:])
    assert torch.equal(GgufFile(path).read("w"), torch.ones(3))


_PATCH = np.arange(64 * 16 * 4, dtype=np.float32).reshape(64, 16, 1, 2, 2)


@pytest.mark.parametrize(
    "stored",
    [(64, 16, 1, 2, 2), (64, 16, 2, 2), (1024, 1, 2, 2), (64, 64), (1024, 4), (16, 256), (4096,)],
    ids=str,
)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "vace_"])
def test_a_flattened_patch_embedding_gets_its_shape_back(write_gguf, stored: tuple, prefix: str) -> None:
    names = (f"{prefix}patch_embedding.weight", f"{prefix}patch_embedding.bias")
    path = write_gguf({names[0]: _PATCH.reshape(stored), names[1]: np.zeros(64, np.float32)})
    assert torch.equal(open_checkpoint(path).read(names[0]), torch.from_numpy(_PATCH))


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_the_shape_written_by_comfyui_converters_is_restored(write_gguf, kind: str) -> None:
    import gguf

    packed = gguf.quantize(_PATCH.reshape(16, 256), gguf.GGMLQuantizationType[kind])
    tensors = {"some.conv.weight": (packed, kind) if kind == "Q8_0" else packed}
    metadata = {"comfy.gguf.orig_shape.some.conv.weight": list(_PATCH.shape)}
    checkpoint = open_checkpoint(write_gguf(tensors, metadata))
    assert checkpoint.tensors["some.conv.weight"].shape == _PATCH.shape
    weight = GGUF.read(checkpoint, "some.conv.weight")
    assert not isinstance(weight, StoredWeight)  # its rows start within blocks
    expected = torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType[kind])).view(_PATCH.shape)
    assert torch.equal(weight.float(), expected)


@pytest.mark.parametrize("key", ["blocks.3.modulation", "head.modulation", "img_emb.emb_pos"])
def test_a_leading_one_that_ggml_drops_comes_back(write_gguf, key: str) -> None:
    checkpoint = open_checkpoint(write_gguf({key: np.ones((6, 32), np.float32), "other": np.ones((6, 32), np.float32)}))
    assert checkpoint.tensors[key].shape == checkpoint.read(key).shape == (1, 6, 32)
    assert checkpoint.tensors["other"].shape == (6, 32)


def test_a_type_that_cannot_be_dequantised_is_named_with_what_to_use(write_gguf) -> None:
    checkpoint = open_checkpoint(write_gguf({"w": _blocks("IQ2_XXS", 2, 256)}))
    with pytest.raises(CheckpointError, match=r"'w' is stored as IQ2_XXS, .* Use a Q8_0, Q6_K, Q5_K_M"):
        GGUF.read(checkpoint, "w")


@pytest.mark.parametrize("scale", [0x7C00, 0xFC00, 0x7E00, 0xFFFF], ids=["inf", "-inf", "nan", "-nan"])
@pytest.mark.parametrize(("kind", "at"), [("Q8_0", 0), ("Q4_K", 2), ("Q6_K", 208), ("Q2_K", 82), ("Q3_K", 108)])
def test_scales_that_are_no_numbers_are_refused(write_gguf, kind: str, at: int, scale: int) -> None:
    packed, _ = _blocks(kind, 3, 512)
    size = BLOCK_TYPES[kind].size_bytes
    packed[2, size + at : size + at + 2] = np.frombuffer(struct.pack("<H", scale), np.uint8)
    with pytest.raises(CheckpointError, match="'w' has scales that are no numbers"):
        GGUF.read(open_checkpoint(write_gguf({"w": (packed, kind)})), "w")


def test_a_part_of_a_split_model_is_refused(write_gguf) -> None:
    path = write_gguf({"w": np.ones(3, np.float32)}, {"split.count": 3})
    with pytest.raises(CheckpointError, match="one of 3 parts .* llama-gguf-split --merge"):
        open_checkpoint(path)


def test_a_gguf_file_is_known_by_its_content(write_gguf, tmp_path: Path) -> None:
    path = write_gguf({"w": np.ones(3, np.float32)})
    renamed = path.rename(tmp_path / "model.safetensors")
    assert isinstance(open_checkpoint(renamed), GgufFile)
