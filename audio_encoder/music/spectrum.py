"""Spectra of a sound: short-time ones, in mel bands and decibels, and their cosine transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]

WINDOW, HOP = 2048, 512
"""Samples of a short-time spectrum, and from one to the next."""
_BANDS = 128
_LINEAR_HZ, _CORNER_HZ, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27
_LEAST_POWER, _RANGE_DB = 1e-10, 80.0


def hann(length: int, *, symmetric: bool = False) -> Numbers:
    """The raised cosine over so many samples, [length]; periodic unless `symmetric`."""
    steps = length - 1 if symmetric else length
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / steps)


def frames_of(samples: Numbers, length: int, hop: int) -> Numbers:
    """Pieces of a sound around every `hop`th sample, with silence beyond its ends: [frames, length], a view."""
    padded = np.pad(samples, length // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]


def magnitudes(samples: Numbers) -> Numbers:
    """Of the short-time spectrum of a sound: [frames, WINDOW / 2 + 1], float32."""
    window = hann(WINDOW)
    pieces = frames_of(samples, WINDOW, HOP)
    found = np.empty((len(pieces), WINDOW // 2 + 1), dtype=np.float32)
    for start in range(0, len(pieces), 1024):  # 16 MiB at a time
        found[start : start + 1024] = np.abs(np.fft.rfft(window * pieces[start : start + 1024], axis=1))
    return found


def mel_power(samples: Numbers, sample_rate: int) -> Numbers:
    """Power in 128 mel bands up to half the rate: [bands, frames], float32.

    Source: Slaney, "Auditory Toolbox", 1998: bands that are linear below 1 kHz and of equal area.
    """
    return (_mel_bands(sample_rate) @ (magnitudes(samples) ** 2).T).astype(np.float32)


def _mel_bands(sample_rate: int) -> Numbers:
    """[bands, WINDOW / 2 + 1], float32: triangles over the frequencies of a spectrum."""
    highest = _mel(sample_rate / 2)
    corners = _hertz(np.linspace(0.0, highest, _BANDS + 2))
    frequencies = np.arange(WINDOW // 2 + 1) * sample_rate / WINDOW
    left, centre, right = (corners[start : start + _BANDS, None] for start in range(3))
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * 2 / (right - left)).astype(np.float32)


def _mel(hertz: float) -> float:
    """Of a frequency of 1 kHz or more."""
    return _CORNER_HZ / _LINEAR_HZ + float(np.log(hertz / _CORNER_HZ)) / _LOG_STEP


def _hertz(mels: Numbers) -> Numbers:
    corner = _CORNER_HZ / _LINEAR_HZ
    return np.where(mels < corner, _LINEAR_HZ * mels, _CORNER_HZ * np.exp(_LOG_STEP * (mels - corner)))


def decibels(power: Numbers, range_db: float | None = _RANGE_DB) -> Numbers:
    """Power as decibels, at most so many below the loudest."""
    loudness = 10 * np.log10(np.maximum(_LEAST_POWER, power))
    return loudness if range_db is None else np.maximum(loudness, loudness.max() - range_db)


def cepstrum(loudness: Numbers, count: int) -> Numbers:
    """The first `count` of the orthonormal cosine transform of bands [bands, frames]: [frames, count], float32."""
    bands = len(loudness)
    angles = np.pi / bands * np.outer(np.arange(count), np.arange(bands) + 0.5)
    basis = np.cos(angles) * np.sqrt(2 / bands)
    basis[0] /= np.sqrt(2)
    return (basis @ loudness).T.astype(np.float32)
