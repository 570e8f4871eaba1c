"""The commands for files of models."""

from __future__ import annotations

import argparse
from pathlib import Path

from .shared import add_model_options, by_name


def add_download(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "download",
        help="download model files to where they belong",
        description="Downloads published model files over plain HTTP and verifies them: one by its name, all that a "
        "workflow loads, or all for a task. What is there stays, what was interrupted goes on where it stopped, and "
        "a file that fails does not stop the others. HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are heeded.",
    )
    each.set_defaults(command="downloading.download")
    each.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a file (wan_2.1_vae), a workflow (t2v_1.3B, or a .json of any kind), a task (i2v-A14B-fp8); ? lists them",
    )
    each.add_argument("--to", type=Path, metavar="DIR", help="the very folder that one file goes into")
    each.add_argument("--dry-run", action="store_true", help="only say what is there, what is missing, and if it fits")
    add_model_options(each)


def add_extract_lora(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "extract-lora",
        help="write the difference of two models as a LoRA",
        description="Writes what tuning has changed in a model as a LoRA: TUNED is about BASE with that LoRA at "
        "strength 1. Both are files of any form that runs here. Matrices become factors, the best of this rank; "
        "biases, norms and modulations are kept whole.",
    )
    each.set_defaults(command="extracting.extract_lora")
    each.add_argument("base", type=by_name, metavar="BASE", help="the model that was tuned")
    each.add_argument("tuned", type=by_name, metavar="TUNED", help="what it has become")
    each.add_argument("--rank", type=int, default=64, metavar="N", help="of each matrix at most (default: 64)")
    each.add_argument("--output", type=Path, metavar="FILE", help="default: TUNED_rankN_lora.safetensors, here")
    each.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="fp16", help="of the file (default: fp16)")
    each.add_argument("--device", default="auto", help="auto, cpu, cuda, ..., see run")
    each.add_argument(
        "--blocks-only", action="store_true", help="only matrices inside the blocks, for programs that read no more"
    )
    each.add_argument(
        "--quick", action="store_true", help="look for the largest singular values by a random sample: much faster, "
        "nearly as good"
    )  # fmt: skip
    each.add_argument("--quiet", action="store_true", help="no progress, only warnings")
