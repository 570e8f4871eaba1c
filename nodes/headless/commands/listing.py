"""`nodes` and `workflows`: what there is."""

from __future__ import annotations

import argparse
import json

from ....model_loading.publishing.known_files import NON_COMMERCIAL, known_file
from .bundled import bundled_models, bundled_names, bundled_title
from .session import Session
from .terminal import say


def nodes(options: argparse.Namespace, session: Session) -> None:
    """Prints the nodes with their inputs and outputs."""
    if options.json:
        say(json.dumps({id: node.GET_NODE_INFO_V1() for id, node in session.nodes().items()}, indent=1))
        return
    for id, node in session.nodes().items():
        info = node.GET_NODE_INFO_V1()
        inputs = [name if group == "required" else f"{name}?" for group in ("required", "optional")
                  for name in info["input_order"].get(group, [])]  # fmt: skip
        say(f"{id} ({info['display_name']})\n  {', '.join(inputs)} -> {', '.join(info['output_name']) or 'a file'}")


def workflows(_options: argparse.Namespace, _session: Session) -> None:
    """Prints the bundled workflows that `run` and `plan` take by name, what each makes, and the files that it loads."""
    names = bundled_names()
    width = max(map(len, names)) + 2
    for name in names:
        files = list(dict.fromkeys(bundled_models(name)))
        terms = [f"; {NON_COMMERCIAL}"] if any(map(_is_non_commercial, files)) else []
        needs = "runs at once" if name.startswith("tiny") else "".join([f"with {', '.join(files)}", *terms])
        say(f"{name:{width}}{bundled_title(name)}: {needs}")


def _is_non_commercial(name: str) -> bool:
    file = known_file(name)
    return file is not None and file.is_non_commercial
