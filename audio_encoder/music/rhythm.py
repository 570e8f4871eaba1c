"""Where notes begin in a sound, how fast it is, and where its beats are."""

from __future__ import annotations

import numpy as np

from .spectrum import HOP, WINDOW, Numbers, decibels, hann, mel_power

USUAL_TEMPO = 120.0
_HIGHEST_TEMPO = 320.0
_TEMPO_WINDOW_S = 8.0
_LEAST_MOMENTS, _LEAST_SAMPLES = 20, 10 * HOP
"""Of a sound whose tempo is looked for."""
_TIGHTNESS = 100.0
"""How much beats cost that are no tempo apart."""
_BEFORE_S, _AROUND_S, _APART_S, _ABOVE = 0.03, 0.1, 0.03, 0.07
"""Of a peak: it is the highest of those so long before, so far above the mean around, so long after the last one."""


def onset_strength(loudness: Numbers) -> Numbers:
    """How much louder the bands [bands, frames] have become, [frames]; it is told of the middle of the spectra."""
    risen = np.maximum(0.0, np.diff(loudness, axis=1)).mean(axis=0)
    return np.pad(risen, (1 + WINDOW // (2 * HOP), 0))[: loudness.shape[1]]


def first_tempo(samples: Numbers, sample_rate: int) -> float:
    """Beats a minute of a sound [samples] at its own rate; the usual tempo of one too short to tell."""
    if len(samples) < _LEAST_SAMPLES:
        return USUAL_TEMPO
    return tempo_of(onset_strength(decibels(mel_power(samples, sample_rate), None)), sample_rate, USUAL_TEMPO)


def tempo_of(strength: Numbers, sample_rate: int, near: float) -> float:
    """Beats a minute by how a sound's onsets [frames] repeat, with those an octave from `near` less likely.

    Source: Ellis, "Beat Tracking by Dynamic Programming", 2007, section 3.
    """
    if len(strength) < _LEAST_MOMENTS:
        return USUAL_TEMPO
    length = min(round(_TEMPO_WINDOW_S * sample_rate / HOP), len(strength))
    padded = np.pad(strength, length // 2, mode="linear_ramp", end_values=0)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, length)[: len(strength)]
    total = np.zeros(length)
    for start in range(0, len(pieces), 1024):
        spectra = np.fft.rfft(pieces[start : start + 1024] * hann(length), n=2 * length, axis=1)
        repeats = np.fft.irfft(np.abs(spectra) ** 2, axis=1)[:, :length]
        highest = np.abs(repeats).max(axis=1, keepdims=True)
        total += np.divide(repeats, highest, out=repeats, where=highest > 0).sum(axis=0)
    mean = np.maximum(total / len(pieces), 0)
    tempi = 60 * sample_rate / (HOP * np.arange(1.0, length))
    likely = np.log1p(1e6 * mean[1:]) - 0.5 * np.log2(tempi / near) ** 2
    if (tempi < _HIGHEST_TEMPO).any():
        likely[tempi >= _HIGHEST_TEMPO] = -np.inf
    return float(tempi[np.argmax(likely)])


def peaks_of(strength: Numbers, sample_rate: int) -> Numbers:
    """The frames at which notes begin, by a sound's onsets [frames].

    Source: Böck, Krebs and Schedl, "Evaluating the Online Capabilities of Onset Detection Methods", 2012.
    """
    before, around, apart = (int(seconds * sample_rate / HOP) for seconds in (_BEFORE_S, _AROUND_S, _APART_S))
    risen = strength - strength.min()
    highest = risen.max()
    risen = risen / highest if highest > 0 else risen
    found, at = [], 0
    while at < len(risen):
        value, near = risen[at], risen[max(0, at - around) : at + around + 1]
        if value == risen[max(0, at - before) : at + 1].max() and value >= near.mean() + _ABOVE:
            found.append(at)
            at += apart
        at += 1
    return np.array(found, dtype=int)


def beats_of(strength: Numbers, tempo: float, sample_rate: int) -> Numbers:
    """The frames of the beats, by a sound's onsets [frames] and its tempo in beats a minute.

    Source: Ellis, "Beat Tracking by Dynamic Programming", 2007, section 2.
    """
    beat = round(60 * sample_rate / HOP / tempo)
    if beat <= 0 or len(strength) < 2:
        return np.array([], dtype=int)
    spread = strength.std(ddof=1)
    even = strength / spread if spread > 0 else strength
    bell = np.exp(-0.5 * (np.arange(-beat, beat + 1) * 32 / beat) ** 2)
    score = np.convolve(even, bell)[beat : beat + len(even)]
    total, before = _best_ways(score, beat)
    at, found = _last_beat(total), []
    while at >= 0:
        found.append(at)
        at = int(before[at])
    return _trimmed(np.array(found[::-1], dtype=int), score)


def _best_ways(score: Numbers, beat: int) -> tuple[Numbers, Numbers]:
    """For each frame the most that beats up to it are worth, and the beat before it, -1 for none."""
    total, before = np.zeros(len(score)), np.full(len(score), -1)
    total[0], least, begun = score[0], 0.01 * score.max(), False
    apart = np.arange(round(beat / 2), 2 * beat + 1)
    cost = _TIGHTNESS * (np.log(np.maximum(apart, 1)) - np.log(beat)) ** 2
    for at in range(1, len(score)):
        reach = int(np.searchsorted(apart, at, side="right"))
        total[at] = score[at]
        begun = begun or score[at] >= least
        if not reach:
            continue
        ways = total[at - apart[:reach]] - cost[:reach]
        best = int(np.argmax(ways))
        total[at] += ways[best]
        if begun:
            before[at] = at - apart[best]
    return total, before


def _last_beat(total: Numbers) -> int:
    """The last high place of what beats are worth."""
    is_high = np.zeros(len(total), dtype=bool)
    is_high[1:-1] = (total[1:-1] > total[:-2]) & (total[1:-1] >= total[2:])
    is_high[-1] = total[-1] > total[-2]
    if not is_high.any():
        return len(total) - 1
    enough = np.flatnonzero(is_high & (total >= 0.5 * np.median(total[is_high])))
    return int(enough[-1]) if len(enough) else -1


def _trimmed(beats: Numbers, score: Numbers) -> Numbers:
    """The beats without those in the quiet at both ends."""
    if not len(beats):
        return beats
    smooth = np.convolve(score[beats], np.hanning(5))[2 : len(score) + 2]
    loud = np.flatnonzero(score > 0.5 * np.sqrt(np.mean(smooth**2)))
    return beats[(beats >= loud[0]) & (beats <= loud[-1])] if len(loud) else beats[:0]
