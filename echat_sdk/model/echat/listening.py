"""From samples to audio embeddings while somebody speaks: exactly, or in blocks.

The encoder looks both ways over the whole utterance, so none of its states is ever final before
the end. `WholeListener` therefore makes only the log-mel ahead; its embeddings are exactly those of
`network.hear`. `BlockListener` encodes block after block as they come. What it gives is
*approximate*: a state sees no further than a little beyond its block, no further back than `left`,
and the floor of its features is the one known by then. In return only the last block is left to do
when the utterance ends, and what was embedded before is final and can be read ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from echat_sdk.audio import Waveform, to_float
from echat_sdk.errors import ConfigError
from echat_sdk.model.echat.adapter import AdapterPast
from echat_sdk.model.echat.encoder import Past
from echat_sdk.model.echat.features import LogMel, LogMelStream
from echat_sdk.model.echat.network import EChatForConditionalGeneration

_FRAMES, _STATES = 8, 4
"""Mel frames and encoder states of one embedding."""

_ADVANCE = 50
"""Mel frames that are worth a call."""


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How an utterance is cut; counts are embeddings, 12.5 a second.

    Attributes:
        block: Embeddings that become final together.
        right: Embeddings behind a block that it sees, which are made again in the next.
        left: Embeddings before a block that it sees.
    """

    block: int = 25
    right: int = 6
    left: int = 200

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if self.block < 1 or self.right < 1 or self.left < 2:
            raise ConfigError(
                f"blocks of {self.block} with {self.right} to the right and {self.left} to the "
                "left; the least are 1, 1 and 2"
            )


class Listener(Protocol):
    """One utterance on its way to embeddings. Used from one thread at a time."""

    def push(self, samples: Waveform) -> bool:
        """Take the next samples (int16, 16 kHz, shape [S]); tells whether more became final."""
        ...

    def final(self) -> Tensor | None:
        """Embeddings that nothing to come changes; None while there are none. Shape [N, H]."""
        ...

    def embeds(self) -> Tensor:
        """Embeddings of what has come, as if it ended here; more may be pushed. Shape [N, H].

        Raises:
            AudioFormatError: less than 25 ms has come.
        """
        ...


class WholeListener:
    """Exact: encodes when it is asked."""

    def __init__(self, network: EChatForConditionalGeneration, log_mel: LogMel) -> None:
        self._network = network
        self._mels = LogMelStream(log_mel)
        self._made = 0

    def push(self, samples: Waveform) -> bool:
        """Take the next samples; half a second of them is turned to log-mel at a time."""
        self._mels.push(torch.from_numpy(to_float(samples)))
        if self._mels.whole_frames >= self._made + _ADVANCE:
            self._mels.advance()
            self._made = self._mels.whole_frames
        return False

    def final(self) -> Tensor | None:
        """None: the end of an utterance changes all of it."""
        return None

    @torch.inference_mode()
    def embeds(self) -> Tensor:
        """See `Listener.embeds`."""
        features = self._mels.features()[None]
        embeds, _ = self._network.hear(features.to(self._network.dtype))
        return embeds[0]


class BlockListener:
    """Approximate: encodes each block when it has come.

    What it gives does not depend on how samples are grouped into calls, nor on when it is asked.
    An utterance that ends within its first block is heard exactly. How far off others are, and what
    is saved, `echat_sdk.bench.hearing` measures.
    """

    def __init__(
        self, network: EChatForConditionalGeneration, log_mel: LogMel, plan: BlockPlan | None = None
    ) -> None:
        self._network = network
        self._plan = plan or BlockPlan()
        self._mels = LogMelStream(log_mel)
        left = self._plan.left
        self._encoder = [Past(left * _STATES) for _ in network.encoder.layers]
        self._adapter = AdapterPast(len(network.adapter.layers), left)
        self._final: list[Tensor] = []
        self._done = 0  # embeddings that are final

    def push(self, samples: Waveform) -> bool:
        """Take the next samples; with the last ones of a block, encode it."""
        self._mels.push(torch.from_numpy(to_float(samples)))
        block, right, before = self._plan.block, self._plan.right, self._done
        while self._mels.whole_frames >= _FRAMES * (self._done + block + right):
            self._take(block, right)
        return self._done > before

    def final(self) -> Tensor | None:
        """Embeddings of the blocks that have come. Shape [N, H]."""
        return torch.cat(self._final) if self._final else None

    @torch.inference_mode()
    def embeds(self) -> Tensor:
        """See `Listener.embeds`."""
        return torch.cat((*self._final, self._embedded()))

    @torch.inference_mode()
    def _take(self, block: int, right: int) -> None:
        stop = self._done + block + right
        self._final.append(self._embedded(_FRAMES * stop)[:block])
        for past in self._encoder:
            past.keep(_STATES * block)
        self._adapter.keep(block)
        self._done += block

    def _embedded(self, end: int | None = None) -> Tensor:
        """Embeddings of the frames up to `end` that follow what is final. Shape [n, H]."""
        network, done = self._network, self._done
        # The convolutions look two frames back, and one state ahead, which `right` holds.
        features = self._mels.features(max(0, _FRAMES * done - 2), end)[None]
        states = network.encoder.follow(
            features.to(network.dtype), self._encoder, start=_STATES * done
        )
        return network.adapter.follow(states, self._adapter, start=done)[0]
