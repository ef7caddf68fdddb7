"""Tells a voice from the echo of the agent's own, where nothing can subtract the echo.

The echo is what was played, a little later, softer, and smeared by the room. By how much is learnt
in bands while the agent speaks; what stands clearly above it is somebody else.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import FRAME_LEN, FRAME_SECONDS, Seconds, Waveform

Levels = npt.NDArray[np.float32]

_EDGES = np.array((4, 8, 13, 19, 27, 38, 54, 78, 120))  # bins of 50 Hz: 200 Hz to 6 kHz
_WINDOW = np.hanning(FRAME_LEN).astype(np.float32)
_SILENT = 20.0  # level of a band, in dB above one step of int16, under which it tells nothing
_COMPARED = round(0.5 / FRAME_SECONDS)  # frames in which echo and sound played are compared
_DELAYS = round(0.3 / FRAME_SECONDS)  # delays that are tried: from playing to hearing
_TAIL = round(0.14 / FRAME_SECONDS)  # frames for which a room goes on sounding
_FADING = 3.0  # dB a frame by which it does
_CALM = round(1.5 / FRAME_SECONDS)  # frames whose quietest tenth is the noise
_HISTORY = _COMPARED + _DELAYS + _TAIL

_ALIKE = 0.5  # correlation from which what is heard is the echo
_RISE, _FALL = 0.2, 0.03  # shares of an error by which the echo's level is corrected each frame
_ABOVE = 6.0  # dB above echo and noise at which a band is somebody's
_SHARE = 0.3  # of the bands, smoothed, from which somebody speaks
_SMOOTH = 0.35
_HOLD: Seconds = 0.24  # for how long after that what is heard is let through


class EchoGuard:
    """Mutes what is no more than the echo of what is played.

    Who is as loud as the echo is heard; who is much softer than it is not. In the first second of
    the first answer the echo is taken to be as loud as what is played.
    """

    def __init__(self) -> None:
        bands = len(_EDGES) - 1
        self._played = np.zeros((_HISTORY, bands), np.float32)  # the latest is last
        self._heard = np.full((_CALM, bands), 90, np.float32)  # loud: nothing is known yet
        self._alike = np.zeros(_DELAYS, np.float32)  # how alike they were, by delay, smoothed
        self._gain = np.zeros(bands, np.float32)  # of the echo, in dB
        self._share = 0.0
        self._hold = 0

    def clean(self, heard: Waveform, played: Waveform) -> Waveform:
        """What is heard, or silence where that is an echo. Shapes [S], S = 320."""
        self._played = np.concatenate((self._played[1:], _levels(played)[None]))
        self._heard = np.concatenate((self._heard[1:], _levels(heard)[None]))
        if self._played[-_DELAYS - _TAIL :].max() <= _SILENT:
            self._share, self._hold = 0.0, 0
            return heard
        likeness = self._correlate()
        echo = self._echo(int(self._alike.argmax()))
        noise = np.partition(self._heard, _CALM // 10, axis=0)[_CALM // 10]
        above = self._heard[-1] - np.maximum(echo + self._gain, noise)
        self._learn(echo, noise, likeness)
        self._share += _SMOOTH * (float(np.mean(above > _ABOVE)) - self._share)
        if self._share > _SHARE:
            self._hold = round(_HOLD / FRAME_SECONDS)
        elif self._hold:
            self._hold -= 1
        return heard if self._hold else np.zeros_like(heard)

    def _correlate(self) -> float:
        """Compare the last half second with what was played before; its likeness to the best."""
        heard = self._heard[-_COMPARED:]
        heard = heard - heard.mean(axis=0)
        windows = np.lib.stride_tricks.sliding_window_view(self._played, _COMPARED, axis=0)
        played = windows[::-1][:_DELAYS]  # [delays, bands, frames], no delay first
        played = played - played.mean(axis=2, keepdims=True)
        power = np.sqrt(np.einsum("dbf,dbf->d", played, played) * np.sum(heard * heard)) + 1e-3
        alike = np.einsum("dbf,fb->d", played, heard) / power
        self._alike += 0.1 * (alike - self._alike)
        return float(alike[int(self._alike.argmax())])

    def _echo(self, delay: int) -> Levels:
        """What was played, when it is heard after this delay, and the room with it."""
        if self._alike[delay] < _ALIKE / 2:  # nobody can tell yet: it may be any delay
            return np.asarray(self._played[-_DELAYS:].max(axis=0), np.float32)
        end = _HISTORY - max(0, delay - 1)
        recent = self._played[end - _TAIL : end][::-1]
        fading = _FADING * np.maximum(0, np.arange(len(recent)) - 2)
        return np.asarray((recent - fading[:, None]).max(axis=0), np.float32)

    def _learn(self, echo: Levels, noise: Levels, likeness: float) -> None:
        """Correct the echo's gain; upwards only by what is surely echo."""
        error = self._heard[-1] - echo - self._gain
        rate = np.where(error > 0, _RISE if likeness > _ALIKE else 0.0, _FALL)
        is_told = (echo > _SILENT + 10) & (self._heard[-1] > noise)
        self._gain += np.where(is_told, rate * error, 0.0).astype(np.float32)


def _levels(samples: Waveform) -> Levels:
    """Level of each band, in dB above one step of int16, at least `_SILENT`. Shape [B]."""
    spectrum = np.fft.rfft(samples * _WINDOW)
    power = np.add.reduceat(np.abs(spectrum[: _EDGES[-1]]) ** 2, _EDGES[:-1]) / FRAME_LEN
    return np.asarray(np.maximum(10 * np.log10(power + 1e-3), _SILENT), np.float32)
