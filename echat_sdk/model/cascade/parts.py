"""The four parts of a cascade: ears, cue hearer, mind, voice; each is opened when first used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from echat_sdk.turn import Lang

if TYPE_CHECKING:
    from echat_sdk.model.cascade.cue_hearer import CueHearer
    from echat_sdk.model.cascade.generator import TextGenerator
    from echat_sdk.model.cascade.thinker import Thinker
    from echat_sdk.model.cascade.transcriber import Transcriber
    from echat_sdk.model.cascade.voice import Voice


class Parts:
    """The four parts of a cascade, each opened when it is first used.

    So `echat say` opens no ears, and `echat understand` no mind. `open_all` is for who is about to
    talk and wants the first answer to be as fast as the second.

    Args:
        ears: Directory of the Whisper weights.
        mind: Directory of the converted language model.
        kokoro: The Kokoro network, or None: English only.
        threads: Processor threads for each network.
    """

    def __init__(self, ears: Path, mind: Path, kokoro: Path | None, *, threads: int) -> None:
        self._ears = ears
        self._mind = mind
        self._kokoro = kokoro
        self._threads = threads

    @cached_property
    def transcriber(self) -> Transcriber:
        """Words of an utterance."""
        from echat_sdk.model.cascade.transcriber import Transcriber

        return Transcriber(self._ears, threads=self._threads)

    @cached_property
    def cue_hearer(self) -> CueHearer:
        """What a voice says beside the words."""
        from echat_sdk.model.cascade.cue_hearer import CueHearer

        return CueHearer(self._ears)

    @cached_property
    def generator(self) -> TextGenerator:
        """The small text model."""
        from echat_sdk.model.cascade.generator import TextGenerator

        return TextGenerator(self._mind, threads=self._threads)

    @cached_property
    def thinker(self) -> Thinker:
        """Thought and answer."""
        from echat_sdk.model.cascade.thinker import Thinker

        return Thinker(self.generator)

    @cached_property
    def voice(self) -> Voice:
        """Speech of the answer."""
        from echat_sdk.model.cascade.voice import Voice

        return Voice(self._kokoro, threads=self._threads)

    def open_all(self, lang: Lang) -> None:
        """Open every part, and fill the caches that its first use in a language would fill.

        On return the model can answer. What is fixed in its prompts is still being read then, in
        a thread of its own: only a first question that comes within about two seconds waits for it.
        """

        def open_ears_and_voice() -> None:
            _ = self.transcriber, self.cue_hearer
            if any(info.lang == lang for info in self.voice.voices()):
                self.voice.warm(lang)

        # Side by side: loading waits for the disk and for single-threaded parsing.
        with ThreadPoolExecutor(1, thread_name_prefix="echat-open") as other:
            opened = other.submit(open_ears_and_voice)
            thinker = self.thinker
            opened.result()
        Thread(target=thinker.warm_up, args=(lang,), name="echat-warm-up").start()
