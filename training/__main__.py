"""`python -m training [STAGE ...]`: makes the bundled demo model again from nothing, or goes on where it stopped.

Stages: vae, text, clip, dit, export, pictures, evaluate; without a name, all in this order. Checkpoints lie in `runs/`.
On two CPU cores everything takes about two hours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from wan_director.common.log import logger
from wan_director.training import clip_stage, dit_stage, picture_stage, text_stage, vae_stage
from wan_director.training.evaluate import evaluate
from wan_director.training.export import export
from wan_director.training.parallel import log_to_console, run_in_parallel, single_thread

ROOT = Path(__file__).resolve().parent.parent


def make_vae(options: argparse.Namespace) -> None:
    """Stage vae."""
    run_in_parallel(vae_stage.train, options.processes, options.runs)


def make_text(options: argparse.Namespace) -> None:
    """Stage text."""
    single_thread()
    text_stage.train(options.runs)


def make_clip(options: argparse.Namespace) -> None:
    """Stage clip."""
    single_thread()
    clip_stage.train(options.runs)


def make_dit(options: argparse.Namespace) -> None:
    """Stage dit."""
    run_in_parallel(dit_stage.train, options.processes, options.processes, options.runs)


def make_pictures(options: argparse.Namespace) -> None:
    """Stage pictures."""
    run_in_parallel(picture_stage.train, options.processes, options.processes, options.runs, options.models)


def make_export(options: argparse.Namespace) -> None:
    """Stage export."""
    export(options.runs, options.models, dit_stage.CONFIG)


def make_evaluation(options: argparse.Namespace) -> None:
    """Stage evaluate."""
    run_in_parallel(evaluate, options.processes, options.processes, options.models)


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "vae": make_vae,
    "text": make_text,
    "clip": make_clip,
    "dit": make_dit,
    "export": make_export,
    "pictures": make_pictures,
    "evaluate": make_evaluation,
}
RESULTS = {"vae": "vae.pt", "text": "text.pt", "clip": "clip.pt"}


def main() -> None:
    """Runs the stages named on the command line; a stage whose result is in `runs` is skipped unless named."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; default all")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of checkpoints")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder the finished files go to")
    parser.add_argument("--processes", type=int, default=2, help="training processes, one thread each")
    options = parser.parse_args()
    if unknown := set(options.stages) - set(STAGES):
        parser.error(f"unknown stage {sorted(unknown)}; choose from {', '.join(STAGES)}")
    log_to_console()
    options.runs.mkdir(parents=True, exist_ok=True)
    for name in options.stages or STAGES:
        if not options.stages and name in RESULTS and (options.runs / RESULTS[name]).exists():
            logger.info("stage %s: done before", name)
            continue
        logger.info("stage %s", name)
        STAGES[name](options)


if __name__ == "__main__":
    main()
