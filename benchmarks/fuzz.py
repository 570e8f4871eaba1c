"""Hands damaged and hostile input of every kind to the pack, many thousands of times, and counts what happens.

Model files are here; graphs, values, names, settings, pictures, videos and command lines in `fuzz_surfaces`.

`python -m wan_director.benchmarks.fuzz --seconds 300` prints the inputs tried and the crashes. A crash is anything but
success or one of our sentences: another exception, a message of several lines, code run, much time, much memory.
`--target gguf --only 1234` repeats one input.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save
from wan_director.common.errors import WanDirectorError
from wan_director.common.log import logger
from wan_director.dit.adapters import ParameterShapes
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.describe import describe
from wan_director.model_loading.kinds import DIT
from wan_director.model_loading.lora.load import read_lora
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.model_loading.spec import ModelSpec

from . import fuzz_mutations as mutations
from .fuzz_surfaces import SURFACES, stopping_host

SLOW_S = 5.0
CONFIG = DiTConfig(dim=48, ffn_dim=64, heads=2, layers=1, text_dim=16, freq_dim=32)
METADATA = {"wan_director.family": "tiny", "wan_director.heads": "2"}


@dataclass(slots=True)
class Result:
    """What became of the inputs of one target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """How many were tried."""
        return sum(self.outcomes.values())


Writer = Callable[[Path, random.Random], Path]
"""Writes a damaged file into an empty folder, and gives what to open."""


def weights() -> dict[str, torch.Tensor]:
    """A very small transformer of random weights."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in WanDiT(CONFIG).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}


def scaled(dtype: torch.dtype, quant: object = None) -> dict[str, torch.Tensor]:
    """The same with its matrices in 8 bits and scales beside them, and their description if there is `quant`."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in weights().items():
        if value.ndim != 2 or not name.endswith(".weight"):
            tensors[name] = value.bfloat16()
            continue
        stem = name.removesuffix(".weight")
        tensors[name] = (value * 64).to(dtype)
        tensors[stem + (".weight_scale" if quant else ".scale_weight")] = torch.tensor(1 / 64)
        if quant:
            tensors[stem + ".comfy_quant"] = torch.tensor(list(json.dumps(quant).encode()), dtype=torch.uint8)
    return tensors if quant else tensors | {"scaled_fp8": torch.empty(0, dtype=dtype)}


def lora() -> dict[str, torch.Tensor]:
    """A LoRA for the transformer, with every kind of key that published ones have."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in weights().items():
        stem = "diffusion_model." + name.rpartition(".")[0]
        if value.ndim == 2 and name.endswith(".weight"):
            tensors[stem + ".lora_down.weight"] = torch.ones(4, value.shape[1])
            tensors[stem + ".lora_up.weight"] = torch.ones(value.shape[0], 4)
            tensors[stem + ".alpha"] = torch.tensor(4.0)
        elif name.endswith(".bias"):
            tensors[stem + ".diff_b"] = value
        elif value.ndim == 1:
            tensors[stem + ".diff"] = value
    return tensors


def quantisation_metadata() -> dict[str, str]:
    """The other place ComfyUI keeps descriptions in: the header."""
    layers = {name.removesuffix(".weight"): {"format": "float8_e4m3fn"} for name in weights() if ".self_attn." in name}
    return METADATA | {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}


def safetensors_writer(tensors: dict[str, torch.Tensor], metadata: Mapping[str, str] = METADATA) -> Writer:
    """Damages a safetensors file, blindly or by its header."""
    data = save(tensors, dict(metadata))

    def write(folder: Path, rng: random.Random) -> Path:
        path = folder / "model.safetensors"
        damage = mutations.damage_bytes if rng.random() < 0.4 else mutations.damage_safetensors
        path.write_bytes(damage(data, rng))
        return path

    return write


def descriptions_writer() -> Writer:
    """Damages the descriptions ComfyUI puts beside weights and into the header, in files that are sound otherwise."""
    good = scaled(torch.float8_e4m3fn, {"format": "float8_e4m3fn"})
    metadata = quantisation_metadata()

    def write(folder: Path, rng: random.Random) -> Path:
        path, tensors, notes = folder / "model.safetensors", dict(good), dict(METADATA)
        if rng.random() < 0.4:
            text = metadata["_quantization_metadata"].encode()
            notes["_quantization_metadata"] = mutations.damage_json_bytes(text, rng).decode("utf-8", "replace")
            tensors = {name: value for name, value in tensors.items() if not name.endswith(".comfy_quant")}
        else:
            quant = rng.choice((
                {"format": "float8_e4m3fn"},
                {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 256},
                {"format": "nvfp4", "full_precision_matrix_mult": True},
            ))  # fmt: skip
            name = rng.choice([name for name in tensors if name.endswith(".comfy_quant")])
            data = mutations.damage_json_bytes(json.dumps(quant).encode(), rng)
            tensors[name] = torch.tensor(list(data), dtype=torch.uint8)
        path.write_bytes(save(tensors, notes))
        return path

    return write


def pickle_writer(folder_of_canary: Path, *, old: bool) -> Writer:
    """Damages a PyTorch file of either format, or plants calls in it."""
    import io

    whole = io.BytesIO()
    torch.save(weights(), whole, _use_new_zipfile_serialization=not old)
    data, canary = whole.getvalue(), str(folder_of_canary / "canary")

    def write(folder: Path, rng: random.Random) -> Path:
        path = folder / "model.pth"
        damage = mutations.damage_pickle if old else mutations.damage_archive
        path.write_bytes(mutations.damage_bytes(data, rng) if rng.random() < 0.3 else damage(data, rng, canary))
        return path

    return write


def index_writer() -> Writer:
    """Damages the index of a model in two parts."""
    tensors, parts = weights(), ("a-00001-of-00002.safetensors", "a-00002-of-00002.safetensors")
    where = {name: parts[number % 2] for number, name in enumerate(tensors)}
    data = {part: save({name: tensors[name] for name in where if where[name] == part}, METADATA) for part in parts}
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": where}).encode()

    def write(folder: Path, rng: random.Random) -> Path:
        for part in parts:
            (folder / part).write_bytes(data[part])
        path = folder / "a.safetensors.index.json"
        path.write_bytes(mutations.damage_json_bytes(index, rng))
        return path

    return write


def gguf_writer() -> Writer | None:
    """Damages a GGUF file; None where the gguf package, which writes the sound one, is not installed."""
    try:
        import gguf
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, "wan")
        for name, value in METADATA.items():
            writer.add_string(name, value)
        for name, value in weights().items():
            kind = gguf.GGMLQuantizationType.Q8_0 if value.ndim == 2 and value.shape[1] % 32 == 0 else None
            array = value.numpy()
            writer.add_tensor(name, gguf.quants.quantize(array, kind) if kind else array, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        data = path.read_bytes()

    def write(folder: Path, rng: random.Random) -> Path:
        path = folder / "model.gguf"
        path.write_bytes(mutations.damage_bytes(data, rng))
        return path

    return write


def targets(folder: Path) -> dict[str, Writer]:
    """Every kind of file, each with what damages it."""
    found = {
        "safetensors": safetensors_writer(weights()),
        "fp8 scaled": safetensors_writer(scaled(torch.float8_e4m3fn)),
        "comfy_quant": safetensors_writer(scaled(torch.int8, {"format": "int8_tensorwise"})),
        "descriptions": descriptions_writer(),
        "lora": safetensors_writer(lora(), {}),
        "pth": pickle_writer(folder, old=False),
        "old pth": pickle_writer(folder, old=True),
        "index": index_writer(),
        "gguf": gguf_writer(),
        **{name: surface.write for name, surface in SURFACES.items()},
    }
    return {name: writer for name, writer in found.items() if writer is not None}


def open_all(path: Path, target: str) -> str:
    """Does with a file what a user can do with it; gives how far it got."""
    if target in SURFACES:
        SURFACES[target].open(path)
        return "loaded"
    if target == "lora":
        with torch.device("meta"):
            shapes = ParameterShapes.of(WanDiT(CONFIG))
        read_lora(path, shapes, model_spec()).report.line()
        return "loaded"
    checkpoint = open_checkpoint(path)
    spec = inspect_checkpoint(checkpoint)
    describe(spec, checkpoint)
    if spec.kind is DIT:
        load(DIT, path, device="cpu")
    return "loaded"


@cache
def model_spec() -> ModelSpec:
    """The transformer that LoRAs are read for."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(save(weights(), METADATA))
        return inspect_checkpoint(open_checkpoint(path))


def try_one(folder: Path, target: str, writer: Writer, seed: int) -> tuple[str, str | None]:
    """One input: the outcome, and what is wrong with it, if anything."""
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    path = writer(folder, random.Random(f"{target} {seed}"))
    start = time.process_time()
    try:
        outcome, problem = open_all(path, target), None
    except WanDirectorError as error:
        outcome, problem = "refused", f"several lines: {error}" if "\n" in str(error) else None
    except Exception:  # a border: whatever it is, it is what this looks for
        outcome, problem = "crashed", traceback.format_exc(limit=-3)
    duration_s = time.process_time() - start
    if duration_s > SLOW_S:
        problem = f"took {duration_s:.1f} s"
    if (folder.parent / "canary").exists():
        problem = "ran code from the file"
    return outcome, problem


def fuzz(target: str, writer: Writer, folder: Path, *, first: int, seconds: float, count: int) -> Result:
    """Tries inputs number `first` and up, for as long as `seconds` or up to `count` of them."""
    result, end = Result(), time.process_time() + seconds
    with stopping_host(folder):
        for seed in range(first, first + count):
            if time.process_time() > end:
                break
            outcome, problem = try_one(folder, target, writer, seed)
            result.outcomes[outcome] += 1
            if problem:
                result.crashes.append(f"{target}, input {seed}: {problem}")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code: 0 without crashes, else 1."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0, help="of processor time, shared by the targets (60)")
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (0)")
    parser.add_argument("--only", type=int, metavar="N", help="only input N")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    logger.setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    crashes: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "files"
        folder.mkdir()
        writers = targets(Path(place))
        chosen = {options.target: writers[options.target]} if options.target else writers
        for target, writer in chosen.items():
            first, count = (options.first, 10**9) if options.only is None else (options.only, 1)
            share = options.seconds / len(chosen)
            result = fuzz(target, writer, folder, first=first, seconds=share, count=count)
            crashes += result.crashes
            told = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(result.outcomes.items()))
            print(f"{target:16} {result.inputs:8,} inputs: {told}; crashes: {len(result.crashes)}", flush=True)
    for crash in crashes[:20]:
        print(crash)
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
