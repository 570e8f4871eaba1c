"""What every test shares: GPU tests are skipped, with the reason, where there is no GPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from wan_director.common.log import logger

# The same examples in every run, so that a red run is about the change at hand; `--hypothesis-profile=default` tries
# fresh ones, as `python -m wan_director.benchmarks.fuzz` does. No deadline: machines differ.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """The command line sets the log's level and handlers for its process; the next test is not to inherit them."""
    level, handlers = logger.level, logger.handlers
    yield
    logger.setLevel(level)
    logger.handlers = handlers


@pytest.fixture(autouse=True, scope="session")
def runs_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs leave that a test breaks off is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAN_DIRECTOR_RESUME_FOLDER", str(tmp_path_factory.mktemp("runs")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(no_gpu)


def pytest_collection_finish() -> None:
    """What the imports made stays to the end: no collection, and memory that runs out asks for many, looks at it."""
    gc.collect()
    gc.freeze()
