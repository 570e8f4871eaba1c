"""Which notes of the twelve are heard when, whatever their octave and however loud."""

from __future__ import annotations

import numpy as np

from .spectrum import HOP, WINDOW, Numbers, frames_of, hann, magnitudes

NOTES = 12
_LOWEST_HZ = 32.70319566257483
"""The note C1."""
_OCTAVES, _PER_OCTAVE = 7, 36
_REFERENCE_HZ = 440.0
_FROM_HZ, _TO_HZ = 150.0, 4000.0
"""Where the tuning is looked for."""
_LEAST_OF_LOUDEST, _TUNING_STEPS = 0.1, 100
_LEFT_OUT = 0.01
"""How much of a filter, in the frequencies where it is least, is taken for nothing."""
_HALVING_TAPS, _HALVING_CUTOFF, _HALVING_BETA = 321, 0.48, 6.5
_STEPS = (0.05, 0.1, 0.2, 0.4)
"""Shares of a moment's notes; one is worth a quarter for each that it is above."""
_SMOOTH = 43


def notes_of(samples: Numbers, sample_rate: int) -> Numbers:
    """How much each note is heard around each frame: [12, frames] of length 1, float32.

    Source: Müller and Ewert, "Chroma Toolbox", 2011, section 3.3 (CENS).
    """
    energy = constant_q(samples, sample_rate, tuning_of(samples, sample_rate))  # [bins, frames]
    merged = _PER_OCTAVE // NOTES
    of_bin = (np.arange(len(energy)) + merged // 2) // merged % NOTES
    chroma = (np.arange(NOTES)[:, None] == of_bin).astype(np.float32) @ energy
    least = np.finfo(np.float32).tiny
    shares = chroma / np.maximum(chroma.sum(axis=0), least)
    steps = sum((shares > step) * np.float32(0.25) for step in _STEPS)
    window = hann(_SMOOTH, symmetric=True)
    window /= window.sum()
    centre = _SMOOTH // 2
    smooth = np.stack([np.convolve(note, window)[centre : centre + len(note)] for note in np.asarray(steps)])
    return (smooth / np.maximum(np.sqrt((smooth**2).sum(axis=0)), least)).astype(np.float32)


def tuning_of(samples: Numbers, sample_rate: int) -> float:
    """How far a sound is from 440 Hz, in parts of a bin of 36 to an octave, -0.5..0.5; of a very short one 0."""
    if len(samples) < WINDOW:
        return 0.0
    spectra = magnitudes(samples).T  # [frequencies, frames]
    pitches, loudness = _peaks(spectra, sample_rate)
    pitches = pitches[loudness >= np.median(loudness)] if len(pitches) else pitches
    pitches = pitches[pitches > 0]
    if not len(pitches):
        return 0.0
    off = _PER_OCTAVE * np.log2(pitches * 16 / _REFERENCE_HZ) % 1.0
    off[off >= 0.5] -= 1.0
    counts, edges = np.histogram(off, np.linspace(-0.5, 0.5, _TUNING_STEPS + 1))
    return float(edges[np.argmax(counts)])


def _peaks(spectra: Numbers, sample_rate: int) -> tuple[Numbers, Numbers]:
    """Frequency and loudness of each peak of each spectrum, between the steps of it, by a parabola through three."""
    audible = spectra * (spectra > _LEAST_OF_LOUDEST * spectra.max(axis=0))
    frequencies = np.arange(len(spectra)) * sample_rate / WINDOW
    below, here, above = audible[:-2], audible[1:-1], audible[2:]
    inside = (frequencies[1:-1] >= _FROM_HZ) & (frequencies[1:-1] < min(_TO_HZ, sample_rate / 2))
    rows, frames = np.nonzero((here > below) & (here >= above) & inside[:, None])
    left, middle, right = (spectra[rows + offset, frames] for offset in range(3))
    bend, slope = left + right - 2 * middle, (right - left) / 2
    shift = np.where(np.abs(slope) < np.abs(bend), -slope / np.where(bend == 0, 1, bend), 0)
    return (rows + 1 + shift) * sample_rate / WINDOW, middle + 0.5 * slope * shift


def constant_q(samples: Numbers, sample_rate: int, tuning: float) -> Numbers:
    """Magnitudes at 36 frequencies in each of seven octaves from C1: [252, frames], float32.

    The filters of an octave are those of the one above it on a sound of half the rate.

    Source: Schörkhuber and Klapuri, "Constant-Q transform toolbox for music processing", 2010.
    """
    bins = _OCTAVES * _PER_OCTAVE
    lowest = _LOWEST_HZ * 2.0 ** (tuning / _PER_OCTAVE)
    frequencies = lowest * 2.0 ** (np.arange(bins) / _PER_OCTAVE)
    lengths = _cycles(frequencies) * sample_rate / frequencies
    parts, rate, hop, sound = [], float(sample_rate), HOP, samples.astype(np.float32)
    for octave in reversed(range(_OCTAVES)):
        part = slice(octave * _PER_OCTAVE, (octave + 1) * _PER_OCTAVE)
        own = frequencies[part]
        filters = _filters(own, _cycles(own) * rate / own, rate) * np.sqrt(sample_rate / rate)
        pieces = frames_of(sound, 2 * (filters.shape[1] - 1), hop)
        parts.append(np.abs(filters @ np.fft.rfft(pieces, axis=1).T))
        rate, hop, sound = rate / 2, hop // 2, _halved(sound)
    frames = min(part.shape[1] for part in parts)
    stacked = np.concatenate([part[:, :frames] for part in reversed(parts)])
    return (stacked / np.sqrt(lengths)[:, None]).astype(np.float32)


def _cycles(frequencies: Numbers) -> Numbers:
    """Of its frequency in each filter, so that it is as wide as its neighbours are apart."""
    octaves = np.log2(frequencies)
    step = np.empty_like(octaves)
    step[0], step[-1] = octaves[1] - octaves[0], octaves[-1] - octaves[-2]
    step[1:-1] = (octaves[2:] - octaves[:-2]) / 2
    squared = 2.0 ** (2 * step)
    return (squared + 1) / (squared - 1)


def _filters(frequencies: Numbers, lengths: Numbers, rate: float) -> Numbers:
    """The filters of some frequencies at a rate, by their spectra: [filters, length / 2 + 1], complex."""
    whole = 2 ** int(np.ceil(np.log2(lengths.max())))
    waves = np.zeros((len(frequencies), whole), dtype=complex)
    for row, (frequency, length) in enumerate(zip(frequencies, lengths)):
        at = np.arange(int(-length // 2), int(length // 2))
        wave = np.exp(2j * np.pi * frequency / rate * at) * hann(len(at))
        first = (whole - len(at)) // 2
        waves[row, first : first + len(at)] = wave / np.abs(wave).sum()
    spectra = np.fft.fft(waves * (lengths / whole)[:, None], axis=1)[:, : whole // 2 + 1]
    return _without_the_least(spectra)


def _without_the_least(spectra: Numbers) -> Numbers:
    """Each row with zeros where it is smallest, as long as these are less than a hundredth of it."""
    sizes = np.abs(spectra)
    ordered = np.sort(sizes, axis=1)
    shares = np.cumsum(ordered, axis=1) / np.maximum(ordered.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    least = np.take_along_axis(ordered, np.argmin(shares < _LEFT_OUT, axis=1)[:, None], axis=1)
    return np.where(sizes >= least, spectra, 0)


def _halved(samples: Numbers) -> Numbers:
    """A sound at half the rate, as loud by its energy, float32."""
    at = np.arange(_HALVING_TAPS) - _HALVING_TAPS // 2
    taps = np.sinc(_HALVING_CUTOFF * at) * np.kaiser(_HALVING_TAPS, _HALVING_BETA)
    taps /= taps.sum()
    pieces = frames_of(np.pad(samples.astype(float), (0, 1)), _HALVING_TAPS, 2)[: -(-len(samples) // 2)]
    return ((pieces @ taps) * np.sqrt(2)).astype(np.float32)
