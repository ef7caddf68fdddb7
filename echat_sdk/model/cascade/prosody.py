"""How each reply emotion is spoken: eleven settings of pitch, pace, loudness and voice quality.

The directions follow what is known of vocal affect (Scherer 2003; Juslin and Laukka 2003): joy is
higher, wider, faster and brighter; sadness lower, flatter, slower and duller; tenderness soft, slow
and gently falling. The amounts are mild, so that every word stays clear, and were set by measuring
(`python -m echat_sdk.bench.voice`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import FloatWaveform, Hertz, Seconds
from echat_sdk.cues import ReplyEmotion

FloatCurve = npt.NDArray[np.float32]

TREMOR_HERTZ = 5.5  # a voice near tears shakes 4 to 7 times a second
FINAL_SECONDS: Seconds = 0.45  # the stretch at the end of a clause that falls or rises
VOICED_HERTZ = 40.0  # below this a pitch track means "no pitch"
PITCH_LIMITS = (60.0, 500.0)  # hertz; the networks heard no speech outside


@dataclass(frozen=True, slots=True)
class Prosody:
    """Settings of one emotion; the defaults are a neutral voice.

    Attributes:
        pitch: Shift of the whole pitch, semitones.
        range: Factor on the pitch's movement about its middle, in semitones; 1 keeps it.
        rate: Factor on the pace; 1 keeps it.
        final: Pitch change over the end of the clause, semitones; negative falls.
        loudness: Decibels against the neutral loudness.
        effort: Change of vocal effort in the network's own unit; 0 keeps it, 1 is about 4 dB.
        tilt: Decibels an octave above 500 Hz; positive is brighter, negative duller.
        breath: Share of breath noise in voiced sound, 0 to 1.
        tremor: Depth of shaking, semitones each way.
    """

    pitch: float = 0.0
    range: float = 1.0
    rate: float = 1.0
    final: float = 0.0
    loudness: float = 0.0
    effort: float = 0.0
    tilt: float = 0.0
    breath: float = 0.0
    tremor: float = 0.0

    def keeping_tones(self) -> Prosody:
        """The same for a language whose pitch movements tell words apart: they stay as they are."""
        return replace(self, range=1 + (self.range - 1) / 4, final=self.final / 4)


PROSODY: Mapping[ReplyEmotion, Prosody] = MappingProxyType(
    {
        ReplyEmotion.NEUTRAL: Prosody(),
        ReplyEmotion.JOYFUL: Prosody(
            pitch=2.0, range=1.35, rate=1.06, final=0.5, loudness=1.5, effort=0.25, tilt=1.0
        ),
        ReplyEmotion.HAPPY: Prosody(
            pitch=1.5, range=1.25, rate=1.04, final=0.3, loudness=1.0, effort=0.2, tilt=0.8
        ),
        ReplyEmotion.SURPRISED: Prosody(
            pitch=2.3, range=1.5, rate=1.03, final=2.0, loudness=1.5, effort=0.25, tilt=0.8
        ),
        ReplyEmotion.COMFORTING: Prosody(
            pitch=-1.0, range=0.8, rate=0.9, final=-1.0, loudness=-2.5, effort=-0.3, tilt=-1.2,
            breath=0.2,
        ),
        ReplyEmotion.SORRY: Prosody(
            pitch=-1.3, range=0.75, rate=0.92, final=-1.2, loudness=-2.0, effort=-0.25, tilt=-1.0,
            breath=0.1,
        ),
        ReplyEmotion.SAD: Prosody(
            pitch=-2.0, range=0.6, rate=0.87, final=-1.5, loudness=-3.5, effort=-0.4, tilt=-1.8,
            breath=0.15,
        ),
        ReplyEmotion.TEARFUL: Prosody(
            pitch=0.8, range=0.7, rate=0.88, final=-1.0, loudness=-2.5, effort=-0.3, tilt=-1.2,
            breath=0.25, tremor=0.45,
        ),
        ReplyEmotion.AFRAID: Prosody(
            pitch=2.0, range=0.8, rate=1.06, final=0.3, loudness=-1.5, effort=-0.15, tilt=-0.4,
            breath=0.2, tremor=0.2,
        ),
        ReplyEmotion.ANGRY: Prosody(
            pitch=0.6, range=1.25, rate=1.03, final=-1.5, loudness=2.5, effort=0.5, tilt=1.8
        ),
        ReplyEmotion.DISGUSTED: Prosody(
            pitch=-1.2, range=0.9, rate=0.94, final=-1.8, loudness=-0.5, tilt=0.4
        ),
    }
)  # fmt: skip


def shape_pitch(f0: FloatCurve, prosody: Prosody, *, frame: Seconds) -> FloatCurve:
    """A pitch track with an emotion's shift, range, ending and shake.

    Args:
        f0: Hertz a frame; at or below 40 where there is no pitch. Shape [F].
        prosody: The settings.
        frame: Seconds a frame.

    Returns:
        The new track; frames without pitch are as they were. Shape [F].
    """
    voiced = f0 > VOICED_HERTZ
    if not voiced.any():
        return f0
    middle = np.median(f0[voiced])
    semitones = 12 * np.log2(np.maximum(f0, VOICED_HERTZ) / middle)
    semitones = semitones * prosody.range + prosody.pitch
    time = np.arange(len(f0), dtype=np.float32) * frame
    end = time[np.flatnonzero(voiced)[-1]]
    semitones += prosody.final * np.clip((time - end) / FINAL_SECONDS + 1, 0.0, 1.0)
    semitones += prosody.tremor * np.sin(2 * np.pi * TREMOR_HERTZ * time)
    shaped = np.clip(middle * 2.0 ** (semitones / 12), *PITCH_LIMITS)
    return np.where(voiced, shaped, f0).astype(np.float32)


def stretch(track: FloatCurve, frames: int) -> FloatCurve:
    """A plan made longer or shorter, without new values: each frame is repeated, kept or dropped.

    The networks' own speed setting rounds each sound to whole frames, so that the pace follows it
    in jumps, and makes slow clauses start with a vowel that is not there; this does neither.

    Args:
        track: Anything by frame. Shape [..., F].
        frames: How many frames it should have.
    """
    at = (np.arange(frames) + 0.5) * track.shape[-1] / frames
    return track[..., at.astype(np.intp)]


def tilt_wave(wave: FloatWaveform, sample_rate: Hertz, decibels_an_octave: float) -> FloatWaveform:
    """A clause made brighter or duller.

    Flat up to 500 Hz and again above 6 kHz, where more would hiss or muffle.

    Args:
        wave: Shape [S].
        sample_rate: Samples a second.
        decibels_an_octave: Slope between the two; 0 leaves the wave as it is.
    """
    if decibels_an_octave == 0.0 or wave.size == 0:
        return wave
    size = 1 << (len(wave) + 1024).bit_length()  # room, so that the end does not wrap round
    hertz = np.fft.rfftfreq(size, 1 / sample_rate)
    octaves = np.log2(np.clip(hertz, 500.0, 6000.0) / 500.0)
    spectrum = np.fft.rfft(wave, size) * 10 ** (octaves * decibels_an_octave / 20)
    return np.fft.irfft(spectrum, size)[: len(wave)].astype(np.float32)
