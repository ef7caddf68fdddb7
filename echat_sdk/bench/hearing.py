"""Hearing while somebody speaks beside hearing at the end: what is left to wait for, what it costs.

Both ways hear the same utterances by turns in one process. Beside the time, it is told how far the
approximate way is off: in its embeddings, in the encoder's states, and in the words that Whisper's
own decoder writes from those states, where the checkpoint has Whisper's encoder.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from echat_sdk.audio import SAMPLE_RATE, Seconds, Waveform, frames, to_float
from echat_sdk.bench.voice import word_errors
from echat_sdk.model.echat.features import LogMel
from echat_sdk.model.echat.listening import BlockListener, BlockPlan, WholeListener
from echat_sdk.model.echat.loading import open_model
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.speech_model import EChatModel
from echat_sdk.model.options import HearingMode

WAYS: tuple[HearingMode, ...] = ("exact", "chunked")
_MOST_WORDS = 200


@dataclass(frozen=True, slots=True)
class HearingRow:
    """One way of hearing; medians over utterances and repeats.

    Attributes:
        way: `exact` or `chunked`.
        during: Work while the utterance came, for each second of it.
        longest: The longest single push.
        embeds: From the last frame until the embeddings are there.
        token: From then until the first token of what was heard: the prompt is read, or its rest.
    """

    way: HearingMode
    during: Seconds
    longest: Seconds
    embeds: Seconds
    token: Seconds


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far chunked hearing is from exact hearing.

    Attributes:
        difference: Largest difference of an embedding's number, by the largest exact number.
        embeds: Mean cosine of embeddings.
        states: Mean cosine of the encoder's states.
        errors: Words that a decoder wrote otherwise; None where it was not asked.
        words: Of so many that it wrote from exact states.
    """

    difference: float
    embeds: float
    states: float
    errors: int | None = None
    words: int = 0


def run(
    directory: Path,
    utterances: Sequence[Waveform],
    *,
    threads: int,
    repeats: int = 3,
    progress: Callable[[], None] = lambda: None,
) -> tuple[HearingRow, ...]:
    """Time both ways.

    Args:
        directory: A checkpoint directory.
        utterances: int16, 16 kHz, shape [S] each.
        threads: Processor threads.
        repeats: Of each utterance in each way.
        progress: Told after each utterance: 2 * repeats * len(utterances) of them.

    Raises:
        ModelError: see `open_model`.
    """
    model = open_model(directory, threads=threads, greedy=True)
    model.max_tokens = 1
    taken: dict[HearingMode, list[tuple[Seconds, ...]]] = {way: [] for way in WAYS}
    for repeat in range(repeats + 1):  # the first warms up
        for utterance in utterances[: None if repeat else 1]:
            for way in WAYS:
                found = _heard(model, way, utterance)
                if repeat:
                    taken[way].append(found)
                    progress()
    return tuple(
        HearingRow(way, *(statistics.median(column) for column in zip(*rows, strict=True)))
        for way, rows in taken.items()
    )


def _heard(model: EChatModel, way: HearingMode, utterance: Waveform) -> tuple[Seconds, ...]:
    model.hearing = way
    hearing = model.listen()
    pushes = [_timed(hearing.push, frame) for frame in frames(utterance)]
    return (
        sum(pushes) / (len(utterance) / SAMPLE_RATE),
        max(pushes),
        _timed(hearing.embeds),
        _timed(hearing.heard),
    )


def _timed(do: Callable[..., object], *args: object) -> Seconds:
    start = time.perf_counter()
    do(*args)
    return time.perf_counter() - start


def fidelity(
    network: EChatForConditionalGeneration,
    utterances: Sequence[Waveform],
    *,
    plan: BlockPlan | None = None,
    whisper: Path | None = None,
) -> Fidelity:
    """Compare chunked hearing to exact hearing.

    Args:
        network: Hears.
        utterances: int16, 16 kHz, shape [S] each.
        plan: How they are cut.
        whisper: A CTranslate2 folder of the Whisper whose encoder `network` has; then English is
            spoken in `utterances`.
    """
    log_mel = LogMel().to(network.device)
    states_alone: Any = SimpleNamespace(
        encoder=network.encoder, adapter=_Unadapted(), dtype=network.dtype
    )
    differences: list[float] = []
    embeds: list[Tensor] = []
    states: list[Tensor] = []
    errors = words = 0
    write = _writer(whisper) if whisper else None
    for utterance in utterances:
        whole, blocks = WholeListener(network, log_mel), BlockListener(network, log_mel, plan)
        in_blocks = BlockListener(states_alone, log_mel, plan)
        for listener in (whole, blocks, in_blocks):
            listener.push(utterance)
        expected, found = whole.embeds(), blocks.embeds()
        differences.append(float((found - expected).abs().max() / expected.abs().max()))
        embeds.append(F.cosine_similarity(found, expected))
        exact_states = _states(network, log_mel, utterance)
        found_states = in_blocks.embeds().reshape(-1, exact_states.shape[1])[: len(exact_states)]
        states.append(F.cosine_similarity(found_states, exact_states))
        if write:
            wrong, count = word_errors(write(exact_states), write(found_states))
            errors, words = errors + wrong, words + count
    return Fidelity(
        max(differences),
        float(torch.cat(embeds).mean()),
        float(torch.cat(states).mean()),
        errors if write else None,
        words,
    )


class _Unadapted:
    """Stands for the adapter, and gives the encoder's states themselves, four in a row."""

    layers = ()

    def follow(self, states: Tensor, past: object, start: int) -> Tensor:
        whole = F.pad(states, (0, 0, 0, -states.shape[1] % 4))
        return whole.reshape(1, -1, 4 * states.shape[2])


@torch.inference_mode()
def _states(network: EChatForConditionalGeneration, log_mel: LogMel, utterance: Waveform) -> Tensor:
    wave = torch.from_numpy(to_float(utterance)).to(network.device)
    states, _ = network.encoder(log_mel(wave[None])[0].to(network.dtype))
    found: Tensor = states[0]
    return found


def _writer(folder: Path) -> Callable[[Tensor], str]:
    """Whisper's decoder: the words of encoder states."""
    import ctranslate2
    from tokenizers import Tokenizer

    decoder = ctranslate2.models.Whisper(str(folder), compute_type="float32")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def write(states: Tensor) -> str:
        marks = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
        given = np.ascontiguousarray(states[None].float().cpu().numpy())
        (found,) = decoder.generate(
            ctranslate2.StorageView.from_array(given),
            [[tokenizer.token_to_id(mark) for mark in marks]],
            beam_size=1,
            max_length=_MOST_WORDS,
        )
        text: str = tokenizer.decode(found.sequences_ids[0])
        return text

    return write
