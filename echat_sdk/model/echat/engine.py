"""The engine: many requests on one set of weights, decoded in one batch.

There is no thread of its own. Whoever waits for a token and finds nobody decoding takes one step
for all requests; the others find their tokens done. So a request that nobody reads costs nothing
once it is `ahead` tokens ahead, and a process that only holds a model holds no thread.

What is scheduled when: a request that has not delivered its first packet goes before one that has;
where no row is free, the longest served row past its first packet is parked for a newcomer and goes
on afterwards. A request that fails, is closed or yields numbers that are none ends alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.decoding import Decoding, Token
from echat_sdk.model.echat.interleave import Head
from echat_sdk.model.echat.kv import KVArena, KVShape, ParkedKV
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.sampling import Sampler


class EngineLimits(BaseModel):
    """What one engine may hold at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(default=8, ge=1, le=256, description="requests decoded in one batch")
    waiting: int = Field(default=64, ge=0, le=10_000, description="requests that may wait for one")
    positions: int = Field(
        default=4096, ge=64, le=131_072, description="positions of one conversation at most"
    )
    ahead: int = Field(
        default=256, ge=1, le=10_000, description="tokens decoded before anybody reads them"
    )
    quantum: int = Field(
        default=64, ge=1, le=10_000, description="tokens of a row before it may give way"
    )
    first_packet: int = Field(
        default=18, ge=1, le=1000, description="speech codes that make the first packet"
    )


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request reads before it writes.

    Attributes:
        ids: Combined ids; one placeholder for each audio embedding. Not empty.
        heard: The audio embeddings, in the order of their placeholders. Shape [N, H].
    """

    ids: tuple[int, ...]
    heard: Tensor | None = None


class Engine:
    """Decodes requests of any number of threads beside each other.

    Args:
        model: The network, in evaluation mode.
        limits: What it may hold.
    """

    def __init__(
        self, model: EChatForConditionalGeneration, limits: EngineLimits | None = None
    ) -> None:
        self.model = model
        self.limits = limits = limits or EngineLimits()
        self._shape = KVShape.of(model.config.llm)
        self._arena = KVArena(
            self._shape,
            rows=limits.rows,
            most=limits.positions,
            device=model.device,
            dtype=model.dtype,
        )
        self._running: list[_Job] = []
        self._new: deque[_Job] = deque()  # at most `waiting`; a newcomer beyond that is refused
        self._parked: deque[_Job] = deque()  # each was admitted once, so it is bounded by the above
        self._changed = threading.Condition()
        self._is_stepping = False

    @property
    def kv_bytes(self) -> int:
        """Bytes that the rows take now, parked conversations not counted."""
        return self._arena.nbytes

    def start(
        self,
        prompt: Prompt,
        decoding: Decoding,
        sampler: Sampler,
        *,
        past: ParkedKV | None = None,
        keeps: bool = False,
    ) -> Stream:
        """Begin a request.

        Args:
            prompt: What is read first.
            decoding: Where the answer begins.
            sampler: How tokens are drawn; this request's own.
            past: What was read before.
            keeps: Whether `Stream.parked` will be asked for.

        Raises:
            GenerationError: too many are waiting, or the conversation is too long.
        """
        length = (past.length if past else 0) + len(prompt.ids)
        if length >= self.limits.positions:
            raise GenerationError(
                f"a conversation of {length} positions; the limit is {self.limits.positions}: "
                "start a new one or drop earlier turns"
            )
        job = _Job(prompt, decoding, sampler, past, keeps)
        with self._changed:
            if len(self._new) >= self.limits.waiting and len(self._running) >= self.limits.rows:
                raise GenerationError(
                    f"{len(self._new)} requests are waiting, which is all that this engine takes; "
                    "try again later"
                )
            self._new.append(job)
        return Stream(self, job)

    @torch.inference_mode()
    def read(self, prompt: Prompt, past: ParkedKV | None = None) -> ParkedKV:
        """Read ahead, with no answer: a fixed head, or speech while it is still going on."""
        with self._alone():
            arena = KVArena(
                self._shape,
                rows=1,
                most=self.limits.positions,
                device=self.model.device,
                dtype=self.model.dtype,
            )
            arena.load(0, past)
            start = past.length if past else 0
            self._prefill(arena, 0, start, prompt)
            return arena.park(0, start + len(prompt.ids))

    # --- one step ---------------------------------------------------------------------------------

    def _next(self, job: _Job) -> Token | None:
        """The next token of a request, None at its end; takes steps for all while it waits."""
        while True:
            with self._changed:
                if job.outbox:
                    return job.outbox.popleft()
                if job.error is not None:
                    raise job.error
                if job.is_over:
                    return None
                if self._is_stepping:
                    self._changed.wait()
                    continue
                self._is_stepping = True
            try:
                self._step()
            finally:
                self._release()

    @torch.inference_mode()
    def _step(self) -> None:
        for job in [job for job in self._running if job.is_over or self._is_ahead(job)]:
            self._leave(job)
        self._admit()
        if self._running:
            self._decode(list(self._running))

    def _admit(self) -> None:
        """Fill free rows; one newcomer a step while others run, so that no answer stutters."""
        is_idle = not self._running
        if self._new and len(self._running) == self.limits.rows:
            served = [job for job in self._running if self._may_give_way(job)]
            if served:
                self._leave(max(served, key=lambda job: job.turns))
        while self._new and len(self._running) < self.limits.rows:
            self._enter(self._new.popleft())
            if not is_idle:
                break
        waiting = len(self._parked)
        while waiting and len(self._running) < self.limits.rows:
            waiting -= 1
            job = self._parked.popleft()
            if job.is_over:
                continue
            if len(job.outbox) >= self.limits.ahead:
                self._parked.append(job)
            else:
                self._enter(job)

    def _enter(self, job: _Job) -> None:
        """Give a job the next row, and a newcomer its first token."""
        row = len(self._running)
        past = job.past
        start = past.length if past else 0
        try:
            self._arena.load(row, past)
            if job.length is None:
                hidden = self._prefill(self._arena, row, start, job.prompt)
                job.length = start + len(job.prompt.ids)
                self._draw(job, self._scores([job], hidden[None])[0])
        except _FAULTS as error:
            job.fail(error)
            self._arena.clear(row)
            return
        job.past, job.turns = None, 0
        if not job.is_over:
            self._running.append(job)
        elif job.keeps:
            job.past = self._arena.park(row, job.length)

    def _leave(self, job: _Job) -> None:
        """Take a job out of its row, the last row into its place; wait or end as it may."""
        row = self._running.index(job)
        assert job.length is not None, "a running job has read its prompt"
        if not job.is_over or job.keeps:
            job.past = self._arena.park(row, job.length)
        if not job.is_over:
            self._parked.append(job)
        last = self._running.pop()
        if job.error is not None:
            self._arena.clear(row)
        if last is not job:
            assert last.length is not None, "a running job has read its prompt"
            self._arena.move(len(self._running), row, last.length)
            self._running[row] = last

    def _decode(self, jobs: list[_Job]) -> None:
        try:
            scores = self._scores(jobs, self._forward(jobs))
        except _FAULTS:
            # Whose fault it was shows alone; the row of a step is overwritten by the next.
            for row, job in enumerate(jobs):
                try:
                    (alone,) = self._scores([job], self._forward_alone(row, job)[None])
                except _FAULTS as error:
                    job.fail(error)
                else:
                    self._advance(job, alone)
        else:
            for job, each in zip(jobs, scores, strict=True):
                self._advance(job, each)
        for job in [job for job in self._running if job.is_over]:
            self._leave(job)

    def _advance(self, job: _Job, scores: Tensor | None) -> None:
        assert job.length is not None, "a running job has read its prompt"
        job.length += 1
        job.turns += 1
        try:
            self._draw(job, scores)
        except _FAULTS as error:
            job.fail(error)

    def _scores(self, jobs: list[_Job], hidden: Tensor) -> list[Tensor | None]:
        """Each job's scores over the head that it writes with; None where its token is forced.

        A head is read from memory once for all rows that write with it.
        """
        scores: list[Tensor | None] = [None] * len(jobs)
        heads = ((Head.TEXT, self.model.text_logits), (Head.SPEECH, self.model.speech_logits))
        for head, score in heads:
            rows = [
                row
                for row, job in enumerate(jobs)
                if job.decoding.head is head and job.decoding.forced is None
            ]
            if rows:
                for row, found in zip(rows, score(hidden[rows]).float(), strict=True):
                    scores[row] = found
        return scores

    def _forward(self, jobs: list[_Job]) -> Tensor:
        """The last hidden state of each row after its last token. Shape [B, H]."""
        lengths = [job.length or 0 for job in jobs]
        device = self.model.device
        ids = torch.tensor([[job.last] for job in jobs], device=device)
        out = self.model.backbone(
            inputs_embeds=self.model.embed(ids),
            position_ids=torch.tensor(lengths, device=device)[:, None],
            attention_mask={"full_attention": self._arena.step_mask(lengths)},
            past_key_values=self._arena.step_cache(lengths),
            use_cache=True,
        )
        last: Tensor = out.last_hidden_state[:, -1]
        return last

    def _forward_alone(self, row: int, job: _Job) -> Tensor:
        prompt = Prompt((job.last,))
        return self._prefill(self._arena, row, job.length or 0, prompt)

    def _prefill(self, arena: KVArena, row: int, start: int, prompt: Prompt) -> Tensor:
        """Read a prompt into a row; the last hidden state. Shape [H]."""
        device = self.model.device
        ids = torch.tensor([prompt.ids], device=device)
        embeds = self.model.embed(ids)
        if prompt.heard is not None:
            spans = ids == self.model.config.vocab.audio_placeholder
            if int(spans.sum()) != len(prompt.heard):
                raise GenerationError(
                    f"{int(spans.sum())} placeholders for {len(prompt.heard)} audio embeddings"
                )
            embeds = embeds.masked_scatter(spans[..., None], prompt.heard.to(embeds))
        count = len(prompt.ids)
        out = self.model.backbone(
            inputs_embeds=embeds,
            position_ids=torch.arange(start, start + count, device=device)[None],
            attention_mask={"full_attention": arena.prefill_mask(start, count)},
            past_key_values=arena.prefill_cache(row, start, count),
            use_cache=True,
        )
        last: Tensor = out.last_hidden_state[0, -1]
        return last

    def _draw(self, job: _Job, scores: Tensor | None) -> None:
        decoding = job.decoding
        if scores is None:
            assert decoding.forced is not None, "only a forced token needs no scores"
            token, probability = decoding.forced, 1.0
        else:
            drawn = job.sampler.draw(scores, decoding.rule())
            speaks = decoding.head is Head.SPEECH
            token = drawn + self.model.config.vocab_size if speaks else drawn
            probability = float((scores[drawn] - scores.logsumexp(-1)).exp())
        assert job.length is not None, "a job draws after it has read its prompt"
        phase = decoding.phase
        job.decoding = decoding.after(token)
        job.last = token
        job.outbox.append(Token(token, phase, probability))
        if not job.decoding.is_done and job.length + 1 >= self.limits.positions:
            job.decoding = job.decoding.cut()
        job.is_over = job.decoding.is_done

    def _is_ahead(self, job: _Job) -> bool:
        return len(job.outbox) >= self.limits.ahead

    def _may_give_way(self, job: _Job) -> bool:
        return (
            job.turns >= self.limits.quantum
            and job.decoding.codes_written >= self.limits.first_packet
        )

    # --- taking turns -----------------------------------------------------------------------------

    def _alone(self) -> _Turn:
        return _Turn(self)

    def _release(self) -> None:
        with self._changed:
            self._is_stepping = False
            self._changed.notify_all()

    def _close(self, job: _Job) -> None:
        """End a request now, or with the step that is going on."""
        with self._alone():
            job.is_over = True
            job.outbox.clear()
            if job in self._running:
                self._leave(job)
            elif job in self._new:
                self._new.remove(job)
            elif job in self._parked:
                self._parked.remove(job)


class Stream(Iterator[Token]):
    """The tokens of one request, as they are drawn. Used from one thread at a time.

    Close it to end the request before its own end; iterating to the end closes it.
    """

    def __init__(self, engine: Engine, job: _Job) -> None:
        self._engine = engine
        self._job = job

    def __next__(self) -> Token:
        """The next token.

        Raises:
            GenerationError: this request failed; others go on.
        """
        token = self._engine._next(self._job)
        if token is None:
            raise StopIteration
        return token

    def close(self) -> None:
        """End the request; what was read and written so far can be kept."""
        self._engine._close(self._job)

    @property
    def decoding(self) -> Decoding:
        """Where the answer stands: its phase, counters and how it ended."""
        return self._job.decoding

    @property
    def parked(self) -> ParkedKV:
        """What was read and written, the last token left out, which was drawn but not yet read.

        Raises:
            ValueError: the request goes on, failed, or was not started to keep it.
        """
        if not self._job.is_over or self._job.past is None:
            raise ValueError("only a request that ended, and was started with keeps=True, is kept")
        return self._job.past


_FAULTS = (RuntimeError, ValueError, MemoryError, GenerationError)
"""What one request's own numbers or size can cause; out of memory is a RuntimeError in torch."""


@dataclass(slots=True, eq=False)
class _Job:
    """A request on its way."""

    prompt: Prompt
    decoding: Decoding
    sampler: Sampler
    past: ParkedKV | None
    keeps: bool
    length: int | None = None  # positions read; None until the prompt was
    last: int = -1  # the token drawn last, which the next step reads
    turns: int = 0  # steps since it got its row
    is_over: bool = False
    error: GenerationError | None = None
    outbox: deque[Token] = field(default_factory=deque)  # filled no further than `ahead` + a step

    def fail(self, error: Exception) -> None:
        """End with an error that names what happened; memory errors say what to do."""
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        self.error = (
            error
            if isinstance(error, GenerationError)
            else GenerationError(f"this request failed and was dropped, others go on: {said}")
        )
        self.is_over = True


class _Turn:
    """Keeps everybody else from stepping."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        with self._engine._changed:
            while self._engine._is_stepping:
                self._engine._changed.wait()
            self._engine._is_stepping = True

    def __exit__(self, *_: object) -> None:
        self._engine._release()
