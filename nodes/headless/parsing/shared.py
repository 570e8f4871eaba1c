"""Options that several commands have."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def by_name(text: str) -> Path:
    """The path of a model, '.' and '..' by the name that the folder has."""
    path = Path(text)
    return path if path.name not in ("", "..") else Path(os.path.abspath(path))


def add_graph_options(parser: argparse.ArgumentParser) -> None:
    """What `run` and `plan` have in common: values to change, and where files are."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="change a value; NODE is an id, a title or a class, for example 3.seed=7; may be repeated",
    )
    add_model_options(parser)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="a folder with diffusion_models, vae, ... (default: models)"
    )
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="a ComfyUI folder, for its models and input files")
    parser.add_argument("--extra-model-paths", type=Path, metavar="FILE", help="an extra_model_paths.yaml of ComfyUI")
