"""The decode step in CUDA graphs: a step is then one launch, not a thousand.

A graph repeats the same work on the same addresses. So the step that is recorded is a pure function
of tensors that stay where they are: the weights, the arena, and one small tensor of inputs. Rows
and positions come in buckets, one graph for each pair, recorded when it is first needed; what was
recorded is dropped when the arena grows, because its addresses are then others.

Recording itself has not been run on a GPU yet. All else here is tested on a processor, where the
step is traced and the trace repeated, which bakes in whatever is no tensor just as a graph would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Cache
from transformers.cache_utils import CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from echat_sdk.model.echat.kv import KVArena
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.runner import Runner

Step = Callable[[Tensor], Tensor]
Replay = Callable[[], Tensor]
Capture = Callable[[Step, Tensor], Replay]
"""Records a step over its static inputs; what is returned runs it on what they hold by then."""


class CapturedRunner(Runner):
    """A runner whose steps are replayed.

    Args:
        model: The network, in evaluation mode.
        rows: Conversations held at once.
        most: Positions of a row at most.
        captures: Makes what records; anew each time that the recorded graphs are dropped.
    """

    def __init__(
        self,
        model: EChatForConditionalGeneration,
        *,
        rows: int,
        most: int,
        captures: Callable[[], Capture] | None = None,
    ) -> None:
        super().__init__(model, rows=rows + 1, most=most)
        self._scratch = rows  # the row behind the last: padding is written there
        self._captures = captures or CudaGraphs
        self._capture = self._captures()
        self._keys = self.arena.keys  # the memory that the graphs were recorded over
        self._graphs: dict[tuple[int, int], tuple[Tensor, Replay]] = {}

    def step(self, ids: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """Read one more id into each of the first rows; see `Runner.step`."""
        self.arena.reserve(max(lengths) + 1)
        if self._keys is not self.arena.keys:
            self._keys = self.arena.keys
            self._graphs.clear()
            self._capture = self._captures()
        count = len(ids)
        rows = min(_power_of_two(count), self._scratch)
        positions = min(
            max(_power_of_two(max(lengths) + 1), KVArena.FIRST_BUCKET), self.arena.capacity
        )
        padding = rows - count
        given = torch.tensor(
            (
                (*ids, *[0] * padding),
                (*lengths, *[0] * padding),
                (*range(count), *[self._scratch] * padding),
            )
        )
        if (rows, positions) not in self._graphs:
            inputs = given.to(self.model.device)
            replay = self._capture(lambda held: self.static_step(held, positions), inputs)
            self._graphs[rows, positions] = inputs, replay
        inputs, replay = self._graphs[rows, positions]
        inputs.copy_(given)
        return replay()[:count].clone()  # the next replay overwrites it

    def static_step(self, inputs: Tensor, positions: int) -> Tensor:
        """One step as a pure function of static tensors; nothing is read back on the way.

        Args:
            inputs: Ids, the positions that each row holds before, and the row that each is written
                to. Shape [3, B].
            positions: How far the rows are looked at.

        Returns:
            The hidden state of each id. Shape [B, H].
        """
        ids, lengths, rows = inputs.unbind()
        heads = torch.arange(self.arena.shape.heads, device=inputs.device)
        at = (rows[:, None] * len(heads) + heads) * self.arena.capacity + lengths[:, None]
        is_hidden = torch.arange(positions, device=inputs.device) > lengths[:, None]
        mask = torch.zeros_like(is_hidden, dtype=self.model.dtype)
        mask = mask.masked_fill(is_hidden, -torch.inf)[:, None, None]
        layers: list[Any] = [
            _StaticLayer(keys, values, at.flatten(), positions)
            for keys, values in zip(self.arena.keys, self.arena.values, strict=True)
        ]
        config = self.model.backbone.config
        before, config._attn_implementation = config._attn_implementation, _PACKED
        try:
            out = self.model.backbone(
                inputs_embeds=self.model.embed(ids[:, None]),
                position_ids=lengths[:, None],
                attention_mask={"full_attention": mask},
                past_key_values=Cache(layers=layers),
                use_cache=True,
            )
        finally:
            config._attn_implementation = before
        last: Tensor = out.last_hidden_state[:, 0]
        return last


class CudaGraphs:
    """Records steps as CUDA graphs; all share one pool of memory, as only one runs at a time."""

    WARM_UPS = 3
    """Runs before recording, in which libraries choose their kernels and take their memory."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step, inputs: Tensor) -> Replay:
        """Record a step. It is run as well, which does no harm: it writes the same again."""
        aside = torch.cuda.Stream(inputs.device)
        aside.wait_stream(torch.cuda.current_stream(inputs.device))
        with torch.cuda.stream(aside):
            for _ in range(self.WARM_UPS):
                step(inputs)
        torch.cuda.current_stream(inputs.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Of this thread alone: a vocoder that takes memory in another one must not spoil it.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            hidden = step(inputs)

        def replay() -> Tensor:
            graph.replay()
            return hidden

        return replay


class _StaticLayer(CacheLayerMixin):
    """One layer of the arena: one position a row is written at `at`, counted over the layer."""

    def __init__(self, keys: Tensor, values: Tensor, at: Tensor, positions: int) -> None:
        super().__init__()
        self.keys, self.values = self._k, self._v = keys, values
        self.is_initialized = True
        self._at, self._positions = at, positions

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """The arena has its memory already."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one position a row; give the first rows as far as they are looked at."""
        count, _, _, size = key_states.shape
        self._k.view(-1, size).index_copy_(0, self._at, key_states.reshape(-1, size))
        self._v.view(-1, size).index_copy_(0, self._at, value_states.reshape(-1, size))
        return self._k[:count, :, : self._positions], self._v[:count, :, : self._positions]

    def get_seq_length(self) -> int:
        """Not known here: rows differ, and their lengths are on the device."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Positions in all, and the first of them."""
        return self._positions, 0

    def get_max_length(self) -> int:
        """Positions at most."""
        return int(self._k.shape[2])


_PACKED = "echat_packed"


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new position a row, its keys and values not repeated for each query head.

    Query heads that share a key head are laid out as positions of it. Transformers does so itself
    in its later versions, but not in all that are supported, nor while it is traced.
    """
    rows, heads, new, size = query.shape
    if new != 1:  # of another thread, which reads a prompt while a step is recorded here
        kwargs["scaling"] = scaling
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    packed = query.reshape(rows, key.shape[1], -1, size)
    found = nn.functional.scaled_dot_product_attention(
        packed, key, value, attn_mask=attention_mask, scale=scaling
    )
    return found.reshape(rows, 1, heads, size), None


AttentionInterface.register(_PACKED, _packed_attention)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
