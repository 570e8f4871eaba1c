"""Every measure of speed and memory, one after the other, on one page.

    python -m wan_director.benchmarks.everything REVISION [--before PYTHON --file FILE] [--name NAME] [--only PART ...]

REVISION is the build of this repository to compare with. PYTHON is the interpreter of an environment with that build,
and FILE a bf16 model that is loaded by both; without them starting and loading are left out. A part that fails is said
to have failed, and the others go on; the exit code is then 1. Takes about an hour on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .report import describe_machine, describe_versions, load_average, today


class Part(NamedTuple):
    """A module of this package and what it is called with."""

    name: str
    arguments: tuple[str, ...] = ()


def parts(revision: str, before: str | None, file: str | None) -> list[Part]:
    """All of them, in the order of the page."""
    measured = [
        Part("__main__"),
        Part("lean"),
        Part("autoencoder", (revision,)),
        Part("quantised"),
        Part("compiling"),
    ]
    if before is not None and file is not None:
        measured.append(Part("start_and_load", ("--file", file, "--before", before)))
    return measured


def measured(part: Part) -> tuple[bool, str]:
    """Whether a part went well, and what it printed; of one that did not, what it complained of."""
    command = [sys.executable, "-m", f"wan_director.benchmarks.{part.name}", *part.arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout or done.stderr  # the first part reports by its log
    if done.returncode == 0:
        return True, said.strip()
    return False, f"Failed with exit code {done.returncode}:\n\n{done.stderr.strip()[-2000:]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    options = _parse(arguments)
    chosen = parts(options.revision, options.before, options.file)
    chosen = [part for part in chosen if not options.only or part.name in options.only]
    page, all_well = [f"# Speed and memory, {today()}\n\n{describe_machine()}\n{describe_versions()}\n"], True
    for part in chosen:
        before = load_average()
        is_well, said = measured(part)
        all_well = all_well and is_well
        page.append(f"## {part.name}\n\nLoad {before:.1f} before, {load_average():.1f} after.\n\n{said}\n")
        print(page[-1], flush=True)
    if options.name:
        target = Path(__file__).parent / "results" / f"{today()}-{options.name}.md"
        target.write_text("\n".join(page), encoding="utf-8")
        print(f"Written to {target}")
    return 0 if all_well else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.everything", description=__doc__)
    parser.add_argument("revision", help="build to compare with")
    parser.add_argument("--before", help="Python with that build installed")
    parser.add_argument("--file", help="bf16 model to load")
    parser.add_argument("--name", help="keep the page as <date>-NAME.md")
    parser.add_argument("--only", nargs="*", default=(), help="names of parts")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
