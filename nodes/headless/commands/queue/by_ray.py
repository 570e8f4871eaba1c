"""`serve --ray ADDRESS`: the queue's server and workers in a Ray cluster."""

from __future__ import annotations

import argparse

from .....cluster.folder import SharedFolder
from .....cluster.on_ray import connected, gpus_of, start, stop
from .....cluster.placing import Places
from .....common.errors import InvalidInputError
from ..terminal import say
from .working import work_words


def serve_by_ray(options: argparse.Namespace) -> None:
    """Starts them, or with --stop ends them, and returns; they go on by themselves.

    Raises:
        InvalidInputError: the cluster has no GPU, and how many workers it is to have is not said.
    """
    with connected(options.ray) as ray:
        if options.stop:
            say(f"{stop(ray)} processes have ended.")
            return
        folder = SharedFolder(options.folder)
        tokens = folder.tokens()
        gpus = 0 if options.device == "cpu" else 1
        count = options.workers or gpus_of(ray) // max(gpus, 1)
        if not count:
            raise InvalidInputError("The cluster has no GPU now. Say how many workers it is to have, with --workers N.")
        places = Places(str(folder.path), tuple(work_words(options)), options.workers, gpus)
        start(ray, _server_words(options), places)
        say(f"{count} workers. The address of the server is in {folder.path / 'address'}, the token in its `token`.")
        say(f"http://{options.called or options.host}:{options.port}/#token={tokens.asking}")


def _server_words(options: argparse.Namespace) -> list[str]:
    words = ["serve", str(options.folder.absolute()), "--workers", "0", "--host", options.host]
    words += ["--port", str(options.port), "--span", str(options.span), "--tries", str(options.tries)]
    words += ["--keep-days", str(options.keep_days)]
    words += ["--name", options.called] if options.called else []
    words += ["--queue-file", str(options.queue_file.absolute())] if options.queue_file else []
    for option in ("models", "comfyui", "extra_model_paths"):
        value = vars(options)[option]
        words += [f"--{option.replace('_', '-')}", str(value.absolute())] if value else []
    return words
