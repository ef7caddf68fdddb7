"""The tensor work of the engine: prompts are read and tokens stepped, one conversation a row.

It knows nothing of requests or turns; `engine` says which rows to read and to step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.kv import KVArena, KVShape, ParkedKV
from echat_sdk.model.echat.network import EChatForConditionalGeneration


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request reads before it writes.

    Attributes:
        ids: Combined ids; one placeholder for each audio embedding. Not empty.
        heard: The audio embeddings, in the order of their placeholders. Shape [N, H].
    """

    ids: tuple[int, ...]
    heard: Tensor | None = None

    def part(self, start: int, stop: int, placeholder: int) -> Prompt:
        """Some of the ids, and the embeddings that belong to them."""
        ids = self.ids[start:stop]
        if self.heard is None:
            return Prompt(ids)
        before = self.ids[:start].count(placeholder)
        return Prompt(ids, self.heard[before : before + ids.count(placeholder)])


Reading = tuple[int, int, Prompt]
"""A row, the positions that it holds already, and what it reads behind them."""


class Runner:
    """A network and the keys and values of its rows.

    Rows that are stepped are the first ones, without a gap, so that a step reads no idle row.

    Args:
        model: The network, in evaluation mode.
        rows: Conversations held at once.
        most: Positions of a row at most.
    """

    def __init__(self, model: EChatForConditionalGeneration, *, rows: int, most: int) -> None:
        self.model = model
        self.arena = KVArena(
            KVShape.of(model.config.llm),
            rows=rows,
            most=most,
            device=model.device,
            dtype=model.dtype,
        )

    def load(self, row: int, past: ParkedKV | None) -> None:
        """Put a conversation into a row; None is one that has not begun."""
        self.arena.load(row, past)

    def park(self, row: int, length: int) -> ParkedKV:
        """A copy of the first positions of a row."""
        return self.arena.park(row, length)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a row over another row."""
        self.arena.move(source, target, length)

    def swap(self, one: int, other: int, length: int) -> None:
        """Let two rows change places, so many positions of them."""
        self.arena.swap(one, other, length)

    def clear(self, row: int) -> None:
        """Forget a row; needed only where it may hold numbers that are none."""
        self.arena.clear(row)

    def check(self, prompt: Prompt) -> None:
        """Whether a prompt can be read at all.

        Raises:
            GenerationError: it is empty, or its embeddings do not fit its placeholders.
        """
        if not prompt.ids:
            raise GenerationError("a prompt without ids; it must have at least one")
        spans = prompt.ids.count(self.model.config.vocab.audio_placeholder)
        heard = 0 if prompt.heard is None else len(prompt.heard)
        if spans != heard:
            raise GenerationError(f"{spans} placeholders for {heard} audio embeddings")

    def prefill(self, rows: Sequence[Reading]) -> Tensor:
        """Read prompts into their rows: those of about one length in one forward.

        Returns:
            The hidden state of each prompt's last id, in the order given. Shape [B, H].
        """
        found: dict[int, Tensor] = {}
        order = sorted(range(len(rows)), key=lambda at: _bucket(rows[at]))
        for _, group in groupby(order, key=lambda at: _bucket(rows[at])):
            together = list(group)
            hidden = self._read([rows[at] for at in together])
            found.update(zip(together, hidden, strict=True))
        return torch.stack([found[at] for at in range(len(rows))])

    def step(self, ids: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """Read one more id into each of the first rows.

        Args:
            ids: Combined ids, one a row.
            lengths: Positions that each row holds before.

        Returns:
            The hidden state of each id. Shape [B, H].
        """
        device = self.model.device
        out = self.model.backbone(
            inputs_embeds=self.model.embed(torch.tensor(ids, device=device)[:, None]),
            position_ids=torch.tensor(lengths, device=device)[:, None],
            attention_mask={"full_attention": self.arena.step_mask(lengths)},
            past_key_values=self.arena.step_cache(lengths),
            use_cache=True,
        )
        last: Tensor = out.last_hidden_state[:, -1]
        return last

    def text_scores(self, hidden: Tensor) -> Tensor:
        """Scores of the text ids, float32. Shape [B, V]."""
        return self.model.text_logits(hidden).float()

    def speech_scores(self, hidden: Tensor) -> Tensor:
        """Scores of the codes and of the end of speech, float32. Shape [B, S]."""
        return self.model.speech_logits(hidden).float()

    def _read(self, rows: Sequence[Reading]) -> Tensor:
        """One forward, shorter prompts padded on the right, where causality hides the padding."""
        device = self.model.device
        counts = [len(prompt.ids) for _, _, prompt in rows]
        starts = [start for _, start, _ in rows]
        most = max(counts)
        padded = [[*prompt.ids, *[0] * (most - len(prompt.ids))] for _, _, prompt in rows]
        ids = torch.tensor(padded, device=device)
        embeds = self.model.embed(ids)
        heard = [prompt.heard.to(embeds) for _, _, prompt in rows if prompt.heard is not None]
        if heard:
            spans = ids == self.model.config.vocab.audio_placeholder
            embeds = embeds.masked_scatter(spans[..., None], torch.cat(heard))
        first = torch.tensor(starts, device=device)
        out = self.model.backbone(
            inputs_embeds=embeds,
            position_ids=first[:, None] + torch.arange(most, device=device),
            attention_mask={"full_attention": self.arena.prefill_mask(starts, counts)},
            past_key_values=self.arena.prefill_cache([row for row, _, _ in rows], starts, counts),
            use_cache=True,
        )
        ends = torch.tensor(counts, device=device) - 1
        last: Tensor = out.last_hidden_state[torch.arange(len(rows), device=device), ends]
        return last


_SHORT = 16
"""Ids up to which prompts share a forward whatever their lengths; beyond, none is padded twofold.

So few ids cost less than the weights that a forward reads.
"""


def _bucket(reading: Reading) -> int:
    _, _, prompt = reading
    return (max(len(prompt.ids), _SHORT) - 1).bit_length()
