"""What is kept of each conversation between its turns, so that no turn is read twice.

Kept are the ids and embeddings of the turns, and the keys and values of what was read. The speech
of an answer is not: it follows the text, so a crop evicts it, and the next turn does not need it.
An answer that was cut off is kept as far as it was heard.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import torch
from torch import Tensor

from echat_sdk.model.echat.backend import Past
from echat_sdk.model.echat.layout import Layout, PastTurn
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.vocab import TextTokenizer, Vocab
from echat_sdk.turn import Turn

MAX_TURNS = 5
"""Past turns that are read again with each new one; upstream keeps as many."""


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """The turns so far.

    Attributes:
        turns: Ids of the turns, oldest first.
        heard: Audio embeddings of each turn; None for a typed one. Shape [N, H].
        said: The words of each turn: the user's and the agent's.
        read: The ids that `kv` holds.
        kv: What a backend holds of `read`; None where nothing is kept.
    """

    turns: tuple[PastTurn, ...] = ()
    heard: tuple[Tensor | None, ...] = ()
    said: tuple[tuple[str, str], ...] = ()
    read: tuple[int, ...] = ()
    kv: Past | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps."""
        audio = sum(h.numel() * h.element_size() for h in self.heard if h is not None)
        return audio + (self.kv.nbytes if self.kv else 0)

    def prompt(self, layout: Layout, heard: Tensor | None) -> tuple[Prompt, Past | None]:
        """What of a layout has still to be read, and what it follows.

        Args:
            layout: The whole prompt, made with `turns` as its history.
            heard: Audio embeddings of the new utterance.
        """
        ids = layout.ids
        # At least one id is read anew: the answer begins with what it makes of it.
        same = takewhile(lambda pair: pair[0] == pair[1], zip(ids[:-1], self.read, strict=False))
        known = sum(1 for _ in same) if self.kv else 0
        audio = [each for each in (*self.heard, heard) if each is not None]
        embeds = torch.cat(audio) if audio else None
        if embeds is not None:
            placeholder = max(ids)  # it is the highest id that there is
            embeds = embeds[sum(i == placeholder for i in ids[:known]) :]
        kv = self.kv.crop(known) if self.kv and known else None
        return Prompt(ids[known:], embeds if embeds is not None and len(embeds) else None), kv

    def with_turn(
        self,
        turn: PastTurn,
        heard: Tensor | None,
        said: tuple[str, str],
        read: tuple[int, ...],
        kv: Past | None,
    ) -> Conversation:
        """The conversation with one more turn, the oldest dropped where there are too many."""
        kept = slice(-MAX_TURNS, None)
        return Conversation(
            (*self.turns, turn)[kept],
            (*self.heard, heard)[kept],
            (*self.said, said)[kept],
            read,
            kv,
        )

    def as_heard(self, reply: str, tokenizer: TextTokenizer) -> Conversation | None:
        """The conversation whose last answer was heard only so far; None if it was another."""
        said, last = self.said[-1], self.turns[-1]
        if said[1] == reply:
            return self
        if not said[1].startswith(reply):
            return None
        kept: tuple[int, ...] = ()
        for count in range(len(last.answer) + 1):
            if len(tokenizer.decode(last.answer[:count]).strip()) > len(reply.strip()):
                break
            kept = last.answer[:count]
        return replace(
            self,
            turns=(*self.turns[:-1], replace(last, answer=kept)),
            said=(*self.said[:-1], (said[0], reply)),
        )


class Conversations:
    """The conversations of one model.

    Where memory runs out, here or in the engine, the one not used for longest gives up its keys and
    values first, which are then read again from its ids; only when none has any left is a whole
    conversation forgotten.

    Args:
        tokenizer: Reads the ids of an answer.
        most_bytes: Memory that they may take together.
    """

    def __init__(self, tokenizer: TextTokenizer, *, most_bytes: int = 1 << 30) -> None:
        self._tokenizer = tokenizer
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Conversation] = OrderedDict()
        self._lock = threading.RLock()

    def find(self, key: str, turns: Sequence[Turn], vocab: Vocab) -> Conversation:
        """The conversation to go on with.

        Args:
            key: Whose it is; empty for nobody's, which is never kept.
            turns: What memory says was said, oldest first. What is kept counts only if it ends with
                the same turn; else the conversation begins with the words of these.
            vocab: The id space.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None and turns and kept.said[-1][0] == turns[-1].transcript:
            found = kept.as_heard(turns[-1].reply, self._tokenizer)
            if found is not None:
                return found
        return self._from_words(turns[-MAX_TURNS:], vocab)

    def keep(self, key: str, conversation: Conversation) -> None:
        """Keep a conversation for its next turn."""
        if not key:
            return
        if conversation.kv is not None and conversation.kv.place is not None:
            conversation.kv.place.parking.on_need(self.drop_oldest)
        with self._lock:
            self._kept[key] = conversation
            self._kept.move_to_end(key)
            while self.nbytes > self._most_bytes and self._kept:
                if not self.drop_oldest():
                    self._kept.popitem(last=False)

    def drop_oldest(self) -> bool:
        """Drop the keys and values of the conversation that was used least recently.

        Returns:
            Whether there was one that had any.
        """
        with self._lock:
            for key, kept in self._kept.items():
                if kept.kv is not None:
                    self._kept[key] = replace(kept, read=(), kv=None)
                    return True
        return False

    def forget(self, key: str) -> None:
        """Drop what is kept of a conversation."""
        with self._lock:
            self._kept.pop(key, None)

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        with self._lock:
            return sum(each.nbytes for each in self._kept.values())

    def _from_words(self, turns: Sequence[Turn], vocab: Vocab) -> Conversation:
        encode = self._tokenizer.encode
        whole = [turn for turn in turns if turn.transcript and turn.reply]
        return Conversation(
            turns=tuple(
                PastTurn((*encode(t.reply), vocab.text_end), prompt=tuple(encode(t.transcript)))
                for t in whole
            ),
            heard=(None,) * len(whole),
            said=tuple((t.transcript, t.reply) for t in whole),
        )
