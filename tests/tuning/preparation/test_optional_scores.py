"""Scores of packages that carry models: text covers what its box does, noise rates worse."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from wan_director.common.errors import MissingPackageError
from wan_director.tests.tuning.preparation import made
from wan_director.tuning.preparation.scores.optional import brisque_of, text_part


def test_the_part_that_text_covers():
    pytest.importorskip("rapidocr", reason="needs RapidOCR")
    plain = Image.new("RGB", (640, 360), (90, 120, 140))
    written = plain.copy()
    draw, font = ImageDraw.Draw(written), ImageFont.load_default(48)
    draw.text((60, 150), "HELLO WORLD 2026", font=font, fill="white")
    left, top, right, bottom = draw.textbbox((60, 150), "HELLO WORLD 2026", font=font)
    truth = (right - left) * (bottom - top) / (640 * 360)
    assert text_part([np.asarray(plain)]) == 0
    # The detector's boxes have a margin of about a third of the letters' height all round.
    assert truth < text_part([np.asarray(plain), np.asarray(written)]) < 1.7 * truth


def test_noise_rates_worse_and_a_package_that_does_not_work_here_is_named():
    pytest.importorskip("brisque", reason="needs brisque")
    clean = made.moved(1, 1)[0]
    noisy = (clean + np.random.default_rng(0).normal(0, 60, clean.shape)).clip(0, 255).astype(np.uint8)
    try:
        assert brisque_of([noisy]) > brisque_of([clean])
    except MissingPackageError as error:
        assert f"does not work with NumPy {np.__version__}" in str(error)
