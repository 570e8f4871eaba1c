"""`extract-lora`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from pathlib import Path

import torch

from ....common.errors import InvalidInputError, OutputError
from ....common.log import logger
from ....engine.local import LocalRuntime
from ....engine.terminal import shown_bytes
from ....media.faults import writing_to
from ....media.whole import replace_file, unfinished_file
from ....model_loading.files.file_type import human_bytes
from ....model_loading.files.tensor_stream import TensorStream
from ....model_loading.lora.describe import EXTRACTED
from ....model_loading.lora.extracting import Extracted, Extraction, TunedPair, header_room
from ....model_loading.meter import untold
from .session import Session
from .terminal import say

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_ENDING = ".safetensors"


def extract_lora(options: argparse.Namespace, _session: Session) -> None:
    """Writes the difference of two models as a LoRA and prints its path; the log says how much of it the rank keeps."""
    device = LocalRuntime(options.device).device("dit")
    how = Extraction(options.rank, DTYPES[options.dtype], device, options.quick, options.blocks_only)
    target = _target(options)
    pair = TunedPair(options.base, options.tuned)
    with writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(target, pair.most_bytes(how))
        logger.info("Comparing %s with %s: %s.", options.tuned.name, options.base.name, pair.title)
        with unfinished_file(target.parent, _ENDING.lstrip(".")) as part:
            found = _write(part, pair, how, options)
            if not found:
                raise InvalidInputError(
                    f"{options.tuned.name} has the very weights of {options.base.name}: there is nothing to extract. "
                    "Choose a model that was tuned."
                )
            replace_file(part, target)
    _report(found, how)
    say(target)


def _target(options: argparse.Namespace) -> Path:
    """Where the file goes.

    Raises:
        OutputError: there is one already, or it has another ending.
    """
    target = options.output or Path(f"{options.tuned.stem}_rank{options.rank}_lora{_ENDING}")
    if target.suffix != _ENDING:
        raise OutputError(f"A LoRA is a {_ENDING} file, got --output {target}. Give a name that ends so.")
    if os.path.lexists(target):
        raise OutputError(f"There is a file {target} already. Give another --output, or move that file away.")
    return target


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise OutputError(
            f"The LoRA takes up to {human_bytes(needed)}, and {human_bytes(free)} are free at {target.parent}. Make "
            "room, give an --output on another disk, or a smaller --rank."
        )


def _write(part: Path, pair: TunedPair, how: Extraction, options: argparse.Namespace) -> list[Extracted]:
    """Writes the file; gives what was extracted, without its tensors."""
    found = []
    metadata = {
        "format": "pt",
        EXTRACTED: f"{options.tuned.name} - {options.base.name}",
        "wan_director.rank": str(how.rank),
    }
    room = header_room(pair.shapes) + len(str(metadata).encode("unicode_escape")) * 2
    shown = contextlib.nullcontext(untold) if options.quiet else shown_bytes("Extracting the LoRA")
    with part.open("r+b") as file, shown as told:
        stream = TensorStream(file, room, metadata)
        for each in pair.extract(how, told):
            for name, tensor in each.tensors.items():
                stream.add(name, tensor)
            found.append(each._replace(tensors={}))
        stream.finish()
    return found


def _report(found: list[Extracted], how: Extraction) -> None:
    """How much of the difference the factors hold: the part of its energy, the sum of its squares."""
    energy, kept = sum(each.energy for each in found), sum(each.kept for each in found)
    least = min(found, key=lambda each: each.kept / each.energy)
    logger.info(
        "%d parameters differ. Rank %d keeps %s of the difference; the least, %s, of %s.",
        len(found), how.rank, _share(kept, energy), _share(least.kept, least.energy), least.parameter,
    )  # fmt: skip


def _share(kept: float, energy: float) -> str:
    return f"{min(1.0, kept / energy):.1%}"
