"""Hearing ahead of the end, guessing that it came, and taking the guess back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from echat_sdk.audio import AudioFrame
from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.directory import Card, save_network
from echat_sdk.model.echat.engine import Engine, EngineLimits
from echat_sdk.model.echat.hearing import EChatHearing
from echat_sdk.model.echat.listening import BlockListener, WholeListener
from echat_sdk.model.echat.loading import open_model
from echat_sdk.model.echat.speech_model import Abilities, EChatModel
from echat_sdk.model.echat.token2wav import Token2Wav
from echat_sdk.model.echat.token2wav.config import HOP, mel_frames
from echat_sdk.model.echat.token2wav.synthetic import synthetic_voice, tiny_config, write_synthetic
from echat_sdk.model.options import HearingMode, NetworkOptions
from echat_sdk.turn import (
    Delta,
    Heard,
    Recollection,
    SpeechDelta,
    TextDelta,
    ThinkDelta,
    Thought,
    Turn,
)

FIRST_BYTE = 10
END = 2
QUESTION = "how are you<HAPPY><ADULT><FEMALE>"


class Bytes:
    """A tokenizer of bytes."""

    def encode(self, text: str, /) -> list[int]:
        return [FIRST_BYTE + byte for byte in text.encode()]

    def decode(self, ids: Sequence[int], /) -> str:
        return bytes(i - FIRST_BYTE for i in ids if i >= FIRST_BYTE).decode("utf-8", "replace")


class Script:
    """Lets a network write given texts, one for each answer."""

    def __init__(self, network: Any) -> None:
        self._rows = network.config.vocab_size
        self._ids: list[int] = []
        network.text_logits = self

    def of(self, *texts: str) -> None:
        self._ids = [i for text in texts for i in (*Bytes().encode(text), END)]

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(*hidden.shape[:-1], self._rows)
        scores[..., self._ids.pop(0)] = 50.0
        return scores


@pytest.fixture
def script(small_model: Any) -> Script:
    return Script(small_model)


def opened(network: Any, hearing: HearingMode = "exact") -> EChatModel:
    return EChatModel(
        "tiny",
        Engine(network, EngineLimits(positions=4096)),
        Bytes(),
        Abilities(think="tag"),
        seed=1,
        is_speech=np.any,
        hearing=hearing,
    )


def pushed(hearing: EChatHearing, frames: int, seed: int = 0) -> EChatHearing:
    chance = np.random.default_rng(seed)
    for _ in range(frames):
        hearing.push(AudioFrame(chance.normal(0, 3000, 320).astype(np.int16)))
    return hearing


def words(deltas: Sequence[Delta]) -> str:
    return "".join(d.text for d in deltas if isinstance(d, TextDelta))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids that each request reads before it writes."""
    lengths: list[int] = []
    start = Engine.start

    def counted(self: Engine, prompt: Any, decoding: Any, *args: Any, **kwargs: Any) -> Any:
        if not decoding.is_done:  # reading ahead
            lengths.append(len(prompt.ids))
        return start(self, prompt, decoding, *args, **kwargs)

    monkeypatch.setattr(Engine, "start", counted)
    return lengths


# --- before the end -------------------------------------------------------------------------------


def test_the_question_is_read_while_the_user_speaks(
    small_model: Any, script: Script, read: list[int]
) -> None:
    script.of(QUESTION)
    hearing = pushed(opened(small_model, "chunked").listen(), 500)
    assert hearing.heard().transcript == "how are you"
    script.of(QUESTION)
    pushed(opened(small_model).listen(), 500, seed=1).heard()
    in_blocks, whole = read
    assert whole > 125, "ten seconds of embeddings"
    assert in_blocks < whole - 90, "eight of them were final"


def test_what_is_read_ahead_is_what_would_be_read_at_the_end(
    small_model: Any, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(small_model, "chunked")
    scores: list[torch.Tensor] = []

    def seen(hidden: torch.Tensor) -> torch.Tensor:
        scores.append(hidden.clone())
        return script(hidden)

    small_model.text_logits = seen
    for ahead in (True, False):
        if not ahead:
            monkeypatch.setattr(EChatHearing, "_read_ahead", lambda self: None)
        script.of(QUESTION)
        pushed(model.listen(), 400).heard()
    half = len(scores) // 2
    torch.testing.assert_close(scores[0], scores[half], atol=1e-4, rtol=1e-4)


def test_a_conversation_too_long_is_told_to_who_asks_not_to_who_pushes(small_model: Any) -> None:
    model = EChatModel(
        "tiny",
        Engine(small_model, EngineLimits(positions=400)),
        Bytes(),
        Abilities(),
        is_speech=np.any,
        hearing="chunked",
    )
    hearing = pushed(model.listen(), 500)
    with pytest.raises(GenerationError, match="400"):
        hearing.heard()


def test_sound_that_cannot_be_encoded_is_told_and_the_next_is_heard(
    small_model: Any, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(small_model)

    def full(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(small_model, "hear", full)
        with pytest.raises(GenerationError, match=r"0\.8 s of sound .* out of memory"):
            pushed(model.listen(), 40).heard()
    script.of(QUESTION)
    assert pushed(model.listen(), 40).heard().transcript == "how are you"


def test_nobody_is_looked_for_once_somebody_was_found(small_model: Any, script: Script) -> None:
    model, asked = opened(small_model), list[int]()
    model.is_speech = lambda samples: bool(asked.append(len(samples)) or len(asked) == 2)
    script.of(QUESTION)
    assert pushed(model.listen(), 450).heard().transcript
    assert asked == [32_000, 32_000]
    asked.clear()
    model.is_speech = lambda samples: bool(asked.append(len(samples)))
    assert not pushed(model.listen(), 250).heard().transcript
    assert asked == [32_000, 32_000, 80_000]


# --- speculation ----------------------------------------------------------------------------------


@pytest.fixture
def after_a_turn(small_model: Any, script: Script) -> tuple[EChatModel, Recollection]:
    """A model that has had a turn with somebody, and what memory says of it."""
    model = opened(small_model)
    script.of(QUESTION, "I am well.")
    hearing = pushed(model.listen(), 30, seed=7)
    said = words(list(hearing.reply(Recollection(key="k"), think="off")))
    assert said == "I am well."
    return model, Recollection(turns=(Turn("how are you", reply=said),), key="k")


@pytest.mark.parametrize("closed", ["closed first", "pushed first", "ended", "never closed"])
def test_an_answer_to_half_an_utterance_leaves_no_trace(
    after_a_turn: tuple[EChatModel, Recollection], script: Script, closed: str
) -> None:
    model, recollection = after_a_turn
    before = model.conversations.find("k", recollection.turns, model.vocab)
    assert before.kv is not None
    hearing = pushed(model.listen(), 40)
    script.of(QUESTION, "I thought that you were done.")
    deltas: Any = hearing.reply(recollection, think="off")
    if closed == "ended":
        list(deltas)
    else:
        assert [type(next(deltas)) for _ in range(3)] == [Heard, Thought, TextDelta]
    if closed == "closed first":
        deltas.close()
    pushed(hearing, 10, seed=3)
    if closed == "pushed first":
        deltas.close()
    assert model.conversations.find("k", recollection.turns, model.vocab) is before
    script.of("how are you doing", "Well!")
    assert words(list(hearing.reply(recollection, think="off"))) == "Well!"
    turns = (*recollection.turns, Turn("how are you doing", reply="Well!"))
    after = model.conversations.find("k", turns, model.vocab)
    assert [said for _, said in after.said] == ["I am well.", "Well!"]
    assert after.heard[-1] is not None
    assert len(after.heard[-1]) == 13, "a second of sound, not the 0.8 s of the guess"


def test_the_first_answer_of_all_can_be_taken_back(small_model: Any, script: Script) -> None:
    model = opened(small_model)
    hearing = pushed(model.listen(), 40)
    script.of(QUESTION, "Too early.")
    list(hearing.reply(Recollection(key="k"), think="off"))
    assert model.conversations.nbytes > 0
    pushed(hearing, 1)
    assert model.conversations.nbytes == 0


def test_a_guess_that_was_right_is_not_read_twice(
    after_a_turn: tuple[EChatModel, Recollection],
    script: Script,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, recollection = after_a_turn
    hearing = pushed(model.listen(), 40)
    script.of(QUESTION, "I am here.")
    deltas: Any = hearing.reply(recollection, think="off")
    for _ in range(4):
        next(deltas)
    deltas.close()
    monkeypatch.setattr(model.engine.model, "hear", None)  # embeddings are not made again
    script.of("I am here.")
    again = list(hearing.reply(recollection, think="off"))
    assert words(again) == "I am here."
    assert read[1:] == [read[1], 1]
    turns = (*recollection.turns, Turn("how are you", reply="I am here."))
    assert len(model.conversations.find("k", turns, model.vocab).turns) == 2


def test_the_same_words_in_another_voice_are_read_anew(
    after_a_turn: tuple[EChatModel, Recollection], script: Script, read: list[int]
) -> None:
    model, recollection = after_a_turn
    script.of(QUESTION, "I am well.")
    list(pushed(model.listen(), 30, seed=8).reply(Recollection(key="j"), think="off"))
    hearing = pushed(model.listen(), 40)
    script.of(QUESTION, "Yes.", "Yes.", "Yes.")
    for key in ("k", "j", "j"):
        list(hearing.reply(replace(recollection, key=key), think="off"))
    *_, other, same = read
    assert (other > 10, same) == (True, 1)


# --- text and speech in turn ----------------------------------------------------------------------


@pytest.fixture
def interleaving(small_model: Any, tmp_path: Path) -> EChatModel:
    """A checkpoint directory whose card declares that it speaks while it writes."""
    save_network(small_model, tmp_path)
    Card(kind="osum-echat", think="tag", order="interleaved").write(tmp_path)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab=_byte_vocab(alphabet), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    sound = tiny_config(small_model.config.speech_codes)
    write_synthetic(tmp_path / "token2wav", sound)
    synthetic_voice(sound).save(tmp_path / "token2wav" / "voices", "ada")
    model = open_model(tmp_path, threads=1, options=NetworkOptions(precision="float32"), seed=1)
    model._token2wav = Token2Wav.load(tmp_path / "token2wav", steps=1, guidance=0.0)
    model.is_speech = np.any
    return model


def _byte_vocab(alphabet: list[str]) -> dict[str, int]:
    """Each byte's letter in the byte-level alphabet to the id that `Bytes` gives it."""
    shown = [chr(b) for b in (*range(33, 127), *range(161, 173), *range(174, 256))]
    hidden = [b for b in range(256) if chr(b) not in shown]
    letter = {ord(c): c for c in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    assert sorted(letter.values()) == alphabet
    return {letter[b]: FIRST_BYTE + b for b in range(256)}


def _tokens(model: EChatModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids of all answers from now on, as they are drawn."""
    seen: list[int] = []
    start = model.engine.start

    def watched(*args: Any, **kwargs: Any) -> Any:
        stream = start(*args, **kwargs)

        class Watched:
            def __iter__(self) -> Iterator[Any]:
                for token in stream:
                    seen.append(token.id)
                    yield token

            def __getattr__(self, name: str) -> Any:
                return getattr(stream, name)

        return Watched()

    monkeypatch.setattr(model.engine, "start", watched)
    return seen


@pytest.mark.parametrize("think", ["tag", "off"])
def test_text_and_speech_come_in_turn_and_are_spoken(
    interleaving: EChatModel, monkeypatch: pytest.MonkeyPatch, think: Any
) -> None:
    model = interleaving
    vocab = model.vocab
    script = Script(model.engine.model)
    thought = "<think>he is glad<think end><HAPPY>" if think == "tag" else ""
    reply = "I am glad for you."
    script.of(QUESTION, thought + reply)
    hearing = pushed(model.listen(), 40)
    heard = hearing.heard()
    assert heard.transcript == "how are you"
    drawn = _tokens(model, monkeypatch)
    model.max_tokens = len(thought + reply) + 110
    deltas = list(hearing.reply(Recollection(key="k"), think=think))

    assert words(deltas) == reply
    assert any(isinstance(delta, ThinkDelta) for delta in deltas) == (think == "tag")
    kinds = [type(d) for d in deltas if isinstance(d, TextDelta | SpeechDelta)]
    first_sound = kinds.index(SpeechDelta)
    assert TextDelta in kinds[first_sound:], "it speaks before it has written all"
    # The thought unbroken, then six of text and eighteen of speech; the begin mark is one of them.
    thinks = len("<think>he is glad<think end>") if think == "tag" else 0
    text = [vocab.is_speech(i) for i in drawn]
    assert not any(text[:thinks])
    rest = text[thinks:]
    left = len(thought + reply) + 1 - thinks
    while left > 6:
        assert rest[:24] == [False] * 6 + [True] * 18
        rest, left = rest[24:], left - 6
    assert rest == [False] * left + [True] * (len(rest) - left)
    # All codes became sound, and the sound carries all words.
    samples = sum(len(d.samples) for d in deltas if isinstance(d, SpeechDelta))
    assert samples == mel_frames(len(vocab.codes_of(drawn))) * HOP
    assert "".join(d.text for d in deltas if isinstance(d, SpeechDelta)) == reply


def test_how_it_hears_is_chosen_when_a_checkpoint_is_opened(
    interleaving: EChatModel, tmp_path: Path
) -> None:
    assert isinstance(interleaving.listener(), WholeListener)
    chunked = NetworkOptions(precision="float32", hearing="chunked")
    eager = open_model(tmp_path, threads=1, options=chunked)
    assert isinstance(eager.listener(), BlockListener)


def test_the_next_turn_reads_no_prompt_again_after_text_and_speech_in_turn(
    interleaving: EChatModel, read: list[int]
) -> None:
    model = interleaving
    model.max_tokens = 40
    script = Script(model.engine.model)
    recollection = Recollection(key="k")
    for words_said, reply in (("one", "First."), ("two", "Second.")):
        script.of(words_said, reply)
        list(pushed(model.listen(), 40).reply(recollection, think="off"))
        turn = Turn(words_said, reply=reply)
        recollection = Recollection(turns=(*recollection.turns, turn), key="k")
    kept = model.conversations.find("k", recollection.turns, model.vocab)
    assert [said for _, said in kept.said] == ["First.", "Second."]
    assert kept.kv is not None
    assert len(kept.read) == kept.kv.length
    start = model.template.assistant_start
    assert kept.read[-len(start) :] == start, "what is kept ends where text and speech begin to mix"
    # Beside the new utterance, only the text of the last answer is read, which had no place.
    _, first, _, second = read
    assert second - first < len("First.") + 40
