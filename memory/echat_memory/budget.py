"""What a reply is given, kept within a number of tokens. Pure.

Tokens are estimated, for memory knows no model: one for each Chinese character, one for every four
other characters. What matters most is taken first:

1. the last turn, cut where it alone would take half of all
2. what the user does not want to speak of
3. what is worth asking
4. the facts, best fit first
5. mood, then what helped before
6. the two turns before the last
7. the episodes, best fit first
8. the older turns

A line is given whole or not at all, and turns without a gap.
"""

from __future__ import annotations

import re
from dataclasses import replace

from echat_sdk.turn import Episode, Recollection, Turn

TOKENS = 600
"""Estimated tokens that a reply is given."""

_HAN = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\uffef]")
_NEAR = 3  # of the last turns those that come before the episodes


def tokens(text: str) -> int:
    """About how many tokens a text takes."""
    wide = 0 if text.isascii() else len(_HAN.findall(text))
    return wide + (len(text) - wide + 3) // 4


def cost(recollection: Recollection) -> int:
    """About how many tokens all of it takes; a thought is given to nobody."""
    lines = [
        *recollection.facts,
        *recollection.questions,
        recollection.mood,
        recollection.helped,
    ]
    return (
        sum(map(tokens, lines))
        + sum(_of_turn(turn) for turn in recollection.turns)
        + sum(map(cost_of, recollection.episodes))
    )


def cost_of(episode: Episode) -> int:
    """About how many tokens an episode takes."""
    return tokens(episode.said) + tokens(episode.when) + tokens(episode.sounded)


def fit(recollection: Recollection, budget: int, *, first: int) -> tuple[Recollection, list[bool]]:
    """The most important of it that the budget holds.

    Args:
        recollection: All that was found.
        budget: Estimated tokens.
        first: How many of the facts come before all else.

    Returns:
        What is given; for each fact and then each episode whether it is among that.
    """
    if cost(recollection) <= budget:
        return recollection, [True] * (len(recollection.facts) + len(recollection.episodes))
    left = budget
    turns = [_cut(turn, budget // 2) for turn in recollection.turns[-1:]]
    left -= sum(map(_of_turn, turns))

    def takes(price: int) -> bool:
        nonlocal left
        if price > left:
            return False
        left -= price
        return True

    has = [takes(tokens(fact)) for fact in recollection.facts[:first]]
    questions = [text for text in recollection.questions if takes(tokens(text))]
    has += [takes(tokens(fact)) for fact in recollection.facts[first:]]
    mood = recollection.mood if takes(tokens(recollection.mood)) else ""
    helped = recollection.helped if takes(tokens(recollection.helped)) else ""
    before = list(recollection.turns[:-1])

    def go_back(most: int) -> None:
        while before and len(turns) < most and takes(_of_turn(before[-1])):
            turns.insert(0, before.pop())

    go_back(_NEAR)
    episodes = [takes(cost_of(episode)) for episode in recollection.episodes]
    if len(turns) >= _NEAR:
        go_back(len(recollection.turns))
    kept = replace(
        recollection,
        turns=tuple(turns),
        facts=tuple(f for f, is_in in zip(recollection.facts, has, strict=True) if is_in),
        questions=tuple(questions),
        mood=mood,
        helped=helped,
        episodes=tuple(
            e for e, is_in in zip(recollection.episodes, episodes, strict=True) if is_in
        ),
    )
    return kept, has + episodes


def _of_turn(turn: Turn) -> int:
    return tokens(turn.transcript) + tokens(turn.reply)


def _cut(turn: Turn, most: int) -> Turn:
    if _of_turn(turn) <= most:
        return turn
    # As characters: none takes more than one token. The mark at the end takes one.
    reply = turn.reply if tokens(turn.reply) <= most // 2 else _head(turn.reply, most // 2)
    room = most - tokens(reply)
    said = turn.transcript if tokens(turn.transcript) <= room else _head(turn.transcript, room)
    return replace(turn, transcript=said, reply=reply)


def _head(text: str, most: int) -> str:
    return f"{text[: most - 1]}…" if most > 0 else ""
