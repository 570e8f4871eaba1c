"""The command `python -m wan_director.benchmarks`: times and counts everything, prints and keeps the results."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch
from wan_director.common.errors import WanDirectorError
from wan_director.common.log import logger

from .contests import Place, check_peers
from .peak_memory import peak_bytes, peak_bytes_beside_shelf
from .report import (
    MemoryResult,
    Report,
    TimingResult,
    describe_machine,
    describe_versions,
    load_average,
    memory_result,
    timing_result,
    to_markdown,
    today,
    write_report,
)
from .suite import memory_rows, timing_rows
from .timing import time_in_turn

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code: 0, or 2 when it could not run."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        check_peers()
    except WanDirectorError as error:
        logger.error("%s", error)
        return 2
    torch.set_num_threads(options.threads)
    load_before = load_average()
    timings = _time_all(options) if options.only != "memory" else ()
    memory = _count_all(options) if options.only != "time" else ()
    report = Report(
        date=today(),
        dtype=options.dtype,
        threads=options.threads,
        machine=describe_machine(),
        versions=describe_versions(),
        load=(load_before, load_average()),
        timings=timings,
        memory=memory,
    )
    logger.info("\n%s", to_markdown(report))
    if options.name:
        logger.info("Written to %s", write_report(report, options.output, options.name))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer runs, memory at 480p only")
    parser.add_argument("--only", choices=("time", "memory"), help="leave the other half out")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="precision of weights and inputs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads per run (default 1)")
    parser.add_argument("--repeats", type=int, help="timed runs of each side (default 7, quick 3)")
    parser.add_argument("--name", help="keep the results as <date>-NAME.json and .md")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder for --name")
    return parser.parse_args(arguments)


def _time_all(options: argparse.Namespace) -> tuple[TimingResult, ...]:
    place = Place("cpu", DTYPES[options.dtype])
    repeats = options.repeats or (3 if options.quick else 7)
    results = []
    for row in timing_rows(options.quick):
        logger.info("timing %s, %s", row.part, row.size)
        torch.manual_seed(0)
        contest = row.make(place)
        results.append(timing_result(row, time_in_turn(contest.ours, contest.peer, repeats)))
    return tuple(results)


def _count_all(options: argparse.Namespace) -> tuple[MemoryResult, ...]:
    place = Place("meta", DTYPES[options.dtype])
    results = []
    for row in memory_rows(options.quick):
        logger.info("counting memory of %s, %s", row.part, row.size)
        contest = row.make(place)
        shelved = contest.ours_beside_shelf
        ours_bytes = peak_bytes(contest.ours) if shelved is None else peak_bytes_beside_shelf(shelved)
        results.append(memory_result(row, ours_bytes, peak_bytes(contest.peer)))
    return tuple(results)


if __name__ == "__main__":
    sys.exit(main())
