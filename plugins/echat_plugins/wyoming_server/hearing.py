"""One utterance, from events with sound to what was said and how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from wyoming.audio import AudioFormat

from echat_plugins.wyoming_server.faults import Fault
from echat_sdk.agent.consenting import heard_by, without_refused
from echat_sdk.audio import AudioFrame, Seconds, Waveform
from echat_sdk.bridge import Workers
from echat_sdk.io.framing import Framer
from echat_sdk.protocols import Hearing, SpeechModel
from echat_sdk.turn import Heard, LangChoice

_BATCH = 25  # frames that are handed over at once
_WIDTH = 2
_MOST_CHANNELS = 2
_MIN_RATE, _MAX_RATE = 8_000, 96_000
_TAIL: Seconds = 0.2  # what the resampler may hold back


class Utterance:
    """Sound that is being heard; `take` it, then ask for `heard`.

    Args:
        model: Hears.
        threads: Where it does so.
        form: Rate, width and channels of the sound.
        lang: Language that is spoken, or `auto`.
        allowed: What the speaker agreed to; None for all.
        most: How long it may be.

    Raises:
        Fault: sound of this form is not taken.
    """

    def __init__(
        self,
        model: SpeechModel,
        threads: Workers,
        form: AudioFormat,
        lang: LangChoice,
        allowed: frozenset[str] | None,
        most: Seconds,
    ) -> None:
        self._form = _checked(form)
        self._model = model
        self._threads = threads
        self._lang: LangChoice = lang
        self._allowed = allowed
        self._most = most
        self._samples = 0
        self._framer = Framer(form.rate)
        self._batch: list[AudioFrame] = []
        self._hearing: Hearing | None = None

    async def take(self, form: AudioFormat, sound: bytes) -> None:
        """Take the next sound.

        Raises:
            Fault: it is of another form, or there is too much of it.
        """
        if _of(form) != _of(self._form):
            raise Fault("the form of the sound changed within an utterance", "invalid-audio")
        samples = _mono(sound, self._form.channels)
        self._samples += len(samples)
        if self._samples > self._most * self._form.rate:
            raise Fault(f"an utterance has {self._most:g} s at most", "too-long")
        self._batch += self._framer.push(samples)
        if len(self._batch) >= _BATCH:
            batch, self._batch = self._batch, []
            async with self._threads.one() as worker:
                await worker.call(self._push, batch)

    async def heard(self) -> Heard:
        """What was said, with the cues that its speaker agreed to.

        Raises:
            ModelError: the model failed.
        """
        if self._samples:
            silence = np.zeros(round(_TAIL * self._form.rate), np.int16)
            self._batch += self._framer.push(silence)
        async with self._threads.one() as worker:
            return await worker.call(self._hear, self._batch)

    def _push(self, batch: Sequence[AudioFrame]) -> Hearing:
        hearing = self._hearing = self._hearing or self._model.listen(lang=self._lang)
        for frame in batch:
            hearing.push(frame)
        return hearing

    def _hear(self, batch: Sequence[AudioFrame]) -> Heard:
        return without_refused(heard_by(self._push(batch), self._allowed), self._allowed)


def _of(form: AudioFormat) -> tuple[int, int, int]:
    return form.rate, form.width, form.channels


def _checked(form: AudioFormat) -> AudioFormat:
    numbers = _of(form)
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in numbers):
        raise Fault("rate, width and channels: expected whole numbers", "invalid-audio")
    if not _MIN_RATE <= form.rate <= _MAX_RATE:
        raise Fault(f"rate: {_MIN_RATE:,} to {_MAX_RATE:,} are taken", "invalid-audio")
    if form.width != _WIDTH or not 1 <= form.channels <= _MOST_CHANNELS:
        raise Fault("16 bit and one or two channels are taken", "invalid-audio")
    return form


def _mono(sound: bytes, channels: int) -> Waveform:
    if len(sound) % (_WIDTH * channels):
        raise Fault("a chunk holds no whole number of samples", "invalid-audio")
    samples = np.frombuffer(sound, "<i2").astype(np.int16)
    if channels == 1:
        return samples
    mean: Waveform = samples.reshape(-1, channels).astype(np.int32).mean(axis=1).astype(np.int16)
    return mean
