"""The types of the pack, checked by pyright's engine in its standard mode: `python tests/check_types.py`.

Every room must be free of errors, but for those listed here, whose number may only fall. basedpyright is that engine
as a package with its own Node.js, so that nothing but pip is needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"nodes": 5}
"""Room -> errors that are still there."""
OF_COMFYUI = ("comfy", "folder_paths", "protocol", "server")
"""Modules of the host, which are there only where the pack is installed in one."""


def errors() -> list[tuple[str, str]]:
    """(room, what and where) of each error.

    Raises:
        RuntimeError: the checker did not run.
    """
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    try:
        report = json.loads(run.stdout)
    except ValueError:
        raise RuntimeError(f"basedpyright did not run: {run.stderr.strip() or run.stdout.strip()}") from None
    if not report["summary"]["filesAnalyzed"] > 100:
        raise RuntimeError(f"basedpyright looked at {report['summary']['filesAnalyzed']} files only.")
    found = []
    for each in report["generalDiagnostics"]:
        path = Path(each["file"]).relative_to(ROOT)
        is_of_comfyui = any(f'Import "{name}' in each["message"] for name in OF_COMFYUI)
        if each["severity"] == "error" and not is_of_comfyui:
            line = each["range"]["start"]["line"] + 1
            found.append((path.parts[0], f"{path}:{line}: {each['message']} ({each.get('rule', 'error')})"))
    return found


def main() -> int:
    """Prints what is wrong in rooms with more errors than allowed; 0 when there is none."""
    found = errors()
    counts = Counter(room for room, _ in found)
    wrong = sorted(room for room, count in counts.items() if count > ALLOWED.get(room, 0))
    for room, text in found:
        if room in wrong:
            print(text)
    print(
        "types: "
        + ", ".join(f"{room} {counts[room]} of {ALLOWED.get(room, 0)}" for room in sorted({*counts, *ALLOWED}))
    )
    lower = {room: counts[room] for room, allowed in ALLOWED.items() if counts[room] < allowed}
    if lower:
        print(f"Fewer errors than allowed: lower ALLOWED in {Path(__file__).name} to {lower}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
