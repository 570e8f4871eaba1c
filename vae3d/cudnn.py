"""A known bad pair of torch and cuDNN."""

from __future__ import annotations

from functools import lru_cache

import torch

from ..common.log import logger

_MENDED = 91500


def has_slow_conv3d(torch_version: str, cudnn_version: int | None) -> bool:
    """Whether 3D convolutions in 16 bits take two to three times the memory they should.

    Source: pytorch/pytorch issue 166643: torch 2.9 with cuDNN before 9.15.
    """
    return torch_version.startswith("2.9.") and cudnn_version is not None and cudnn_version < _MENDED


@lru_cache(maxsize=1)
def warn_of_slow_conv3d() -> None:
    """Says once what to do about such a pair; to be asked when an autoencoder runs on a CUDA device."""
    version = torch.backends.cudnn.version()
    if has_slow_conv3d(torch.__version__, version):
        logger.warning(
            "torch %s with cuDNN %d takes two to three times the memory for 3D convolutions. Our VAE avoids most of "
            "them; for the rest, and for other nodes, install nvidia-cudnn-cu12 9.15 or newer, or torch 2.10.",
            torch.__version__, version,
        )  # fmt: skip
