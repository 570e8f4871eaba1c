"""`python -m training.variants control pose talk`: makes the miniatures of models that follow something."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from wan_director.common.log import logger
from wan_director.training.parallel import log_to_console
from wan_director.training.variants.control import ControlLesson
from wan_director.training.variants.judge import judge
from wan_director.training.variants.loop import learn
from wan_director.training.variants.pose import PoseLesson
from wan_director.training.variants.talk import TalkLesson

ROOT = Path(__file__).resolve().parents[2]
LESSONS = {lesson.name: lesson for lesson in (ControlLesson, PoseLesson, TalkLesson)}


def main() -> None:
    """Trains those named on the command line, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m training.variants", description=__doc__)
    parser.add_argument("names", nargs="+", choices=tuple(LESSONS), metavar="NAME", help=f"of {', '.join(LESSONS)}")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of what is kept between runs")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder the finished files go to")
    parser.add_argument("--steps", type=int, help="fewer or more than usual")
    parser.add_argument("--go-on", action="store_true", help="train the finished files further")
    parser.add_argument("--judge", action="store_true", help="only measure the finished files")
    parser.add_argument("--unjudged", action="store_true", help="only train")
    options = parser.parse_args()
    torch.set_num_threads(1)
    log_to_console()
    for name in options.names:
        lesson = LESSONS[name]()
        if not options.judge:
            learn(lesson, options.models, options.runs, options.steps or lesson.steps, goes_on=options.go_on)
        for measured, (before, after) in ({} if options.unjudged else judge(lesson, options.models)).items():
            logger.info("%s: %s %.3f, untrained %.3f", name, measured, after, before)


if __name__ == "__main__":
    main()
