"""The network as a speech model, on random weights: the protocol, turns and voices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from echat_sdk.audio import AudioFrame
from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.errors import ConfigError, UnsupportedError
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.engine import Engine, EngineLimits
from echat_sdk.model.echat.hearing import EChatHearing
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.speaking import Speaker
from echat_sdk.model.echat.speech_model import Abilities, EChatModel
from echat_sdk.model.echat.token2wav import Token2Wav
from echat_sdk.model.echat.token2wav.synthetic import synthetic_voice, tiny_config, write_synthetic
from echat_sdk.model.echat.vocab import Vocab
from echat_sdk.protocols import Hearing, SpeechModel
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

CODES = 40
CALM: dict[str, Any] = {"seed": 1, "max_tokens": 30, "is_speech": np.any}


class Bytes:
    """A tokenizer of bytes."""

    def encode(self, text: str, /) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int], /) -> str:
        return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


class Brief(EChatForConditionalGeneration):
    """Random, but it writes letters, and ends its text among the first."""

    def text_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        scores = super().text_logits(hidden)
        bias = torch.zeros_like(scores)
        bias[..., 97:123] = 8.0
        bias[..., 258] = 10.0
        return scores + bias


@pytest.fixture(scope="module")
def network(tiny_echat: Callable[..., EChatConfig]) -> EChatForConditionalGeneration:
    torch.manual_seed(3)
    config = tiny_echat(
        codes=CODES,
        encoder={"encoder_attention_heads": 2},
        initializer_range=0.5,
        eos_token_id=258,
    )
    return Brief(config).eval()


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Token2Wav:
    folder = tmp_path_factory.mktemp("token2wav")
    config = tiny_config(CODES)
    write_synthetic(folder, config)
    synthetic_voice(config).save(folder / "voices", "ada")
    return Token2Wav.load(folder, steps=1, guidance=0.0)


@pytest.fixture
def model(network: EChatForConditionalGeneration, voice: Token2Wav) -> EChatModel:
    return EChatModel(
        "tiny",
        Engine(network, EngineLimits(positions=4096)),
        Bytes(),
        Abilities(think="tag"),
        token2wav=voice,
        seed=1,
        max_tokens=30,
        is_speech=np.any,
    )


def utterance(model: EChatModel, frames: int = 50, seed: int = 0) -> EChatHearing:
    chance = np.random.default_rng(seed)
    hearing = model.listen()
    for _ in range(frames):
        hearing.push(AudioFrame(chance.normal(0, 3000, 320).astype(np.int16)))
    return hearing


def words(deltas: Sequence[Delta]) -> str:
    return "".join(d.text for d in deltas if isinstance(d, TextDelta))


def order(deltas: Sequence[Delta]) -> Iterator[type]:
    """The kinds of deltas, runs of one kind as one."""
    last: type | None = None
    for delta in deltas:
        if type(delta) is not last:
            last = type(delta)
            yield last


def test_it_is_a_speech_model(model: EChatModel) -> None:
    assert isinstance(model, SpeechModel)
    assert isinstance(model.listen(), Hearing)


def test_the_deltas_come_in_the_order_of_the_protocol(model: EChatModel) -> None:
    kinds = list(order(list(utterance(model).reply(Recollection()))))
    assert kinds[0] is Heard
    assert kinds.index(Thought) < kinds.index(TextDelta)
    assert ThinkDelta not in kinds or kinds.index(ThinkDelta) < kinds.index(Thought)
    assert kinds[-1] is SpeechDelta


def test_a_seed_repeats_an_answer_to_the_sample(model: EChatModel) -> None:
    first, second = (list(utterance(model).reply(Recollection())) for _ in range(2))
    assert words(first) == words(second)
    for one, other in zip(first, second, strict=True):
        if isinstance(one, SpeechDelta) and isinstance(other, SpeechDelta):
            assert np.array_equal(one.samples, other.samples)


def test_speech_carries_the_words_of_the_answer(model: EChatModel) -> None:
    deltas = list(utterance(model).reply(Recollection()))
    spoken = "".join(d.text for d in deltas if isinstance(d, SpeechDelta))
    assert spoken == words(deltas)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I am sorry about your dog", ["I am ", "sorry about", " your dog"]),
        ("我的小狗昨天死了很难过", ["我的小狗", "昨天死了", "很难过"]),
    ],
)
def test_an_interruption_leaves_whole_words(
    voice: Token2Wav, text: str, expected: list[str]
) -> None:
    speaker = Speaker(voice, voice.voice("ada"), Vocab(300, CODES, 1, 2, 2), text="", seed=0)
    speaker.words(text)
    rate, told = (14.0, (8, 16)) if text.isascii() else (4.5, (4, 8))
    pieces = []
    for letters in told:
        seconds = letters / rate - speaker._seconds
        samples = np.zeros(round(seconds * 22_050), np.int16)
        pieces += [p.text for p in speaker._piece(samples, is_last=False)]
    pieces += [p.text for p in speaker._piece(samples, is_last=True)]
    assert pieces == expected


def test_silence_is_answered_with_nothing(model: EChatModel) -> None:
    hearing = model.listen()
    for _ in range(20):
        hearing.push(AudioFrame(np.zeros(320, np.int16)))
    (heard,) = hearing.reply(Recollection())
    assert isinstance(heard, Heard)
    assert heard.transcript == ""


def test_the_second_turn_reads_only_what_is_new(
    model: EChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list(utterance(model).reply(Recollection(key="k"), speak=False))
    heard = next(d for d in first if isinstance(d, Heard))
    turn = Turn(heard.transcript, reply=words(first))
    read: list[int] = []
    start = model.engine.start

    def counted(prompt: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(len(prompt.ids))
        return start(prompt, *args, **kwargs)

    second = utterance(model, seed=1)
    second.heard()
    monkeypatch.setattr(model.engine, "start", counted)
    kept = list(second.reply(Recollection(turns=(turn,), key="k"), speak=False))
    fresh_model = EChatModel(
        "tiny",
        Engine(model.engine.model),
        Bytes(),
        Abilities(think="tag"),
        seed=1,
        max_tokens=30,
        is_speech=np.any,
    )
    # The same turns, nothing of them read before.
    fresh_model.conversations.keep("k", _unread(model, "k", turn))
    fresh = utterance(fresh_model, seed=1)
    again = list(fresh.reply(Recollection(turns=(turn,), key="k"), speak=False))

    assert words(kept) == words(again)
    assert read[0] < 120, "the system prompt and the first turn were read in the turn before"


def _unread(model: EChatModel, key: str, turn: Turn) -> Any:
    from dataclasses import replace

    kept = model.conversations._kept[key]
    return replace(
        kept,
        turns=kept.turns[:1],
        heard=kept.heard[:1],
        said=((turn.transcript, turn.reply),),
        read=(),
        kv=None,
    )


def test_what_was_not_heard_of_an_answer_is_forgotten(model: EChatModel) -> None:
    deltas = list(utterance(model).reply(Recollection(key="k"), speak=False))
    heard = next(d for d in deltas if isinstance(d, Heard))
    reply = words(deltas)
    cut = reply[: len(reply) // 2].rstrip()
    found = model.conversations.find("k", [Turn(heard.transcript, reply=cut)], model.vocab)

    said = model.tokenizer.decode(found.turns[0].answer)
    assert len(said.strip()) <= len(reply.strip())
    assert model.vocab.text_end not in found.turns[0].answer


def test_another_turn_in_memory_is_believed_over_what_is_kept(model: EChatModel) -> None:
    list(utterance(model).reply(Recollection(key="k"), speak=False))
    found = model.conversations.find("k", [Turn("hello", reply="hi")], model.vocab)
    assert found.said == (("hello", "hi"),)
    assert found.kv is None


def test_noise_is_not_heard_as_words(network: EChatForConditionalGeneration) -> None:
    careful = EChatModel("tiny", Engine(network), Bytes(), Abilities(), seed=1)
    (heard,) = utterance(careful).reply(Recollection())
    assert isinstance(heard, Heard)
    assert heard.transcript == ""


def test_a_system_prompt_is_read_once(model: EChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    list(utterance(model).reply(Recollection(), speak=False))
    monkeypatch.setattr(model.engine, "read", None)
    assert words(list(utterance(model, seed=2).reply(Recollection(), speak=False)))


def test_nobodys_conversation_is_not_kept(model: EChatModel) -> None:
    list(utterance(model).reply(Recollection(), speak=False))
    assert model.conversations.nbytes == 0


def test_an_answer_that_is_broken_off_is_kept_as_far_as_it_came(model: EChatModel) -> None:
    deltas = utterance(model).reply(Recollection(key="k"), speak=False)
    taken = [next(deltas) for _ in range(3)]
    deltas.close()
    assert isinstance(taken[0], Heard)
    assert model.conversations.nbytes > 0


def test_typed_words_are_answered_and_spoken(model: EChatModel) -> None:
    deltas = list(model.read("hello", Cues()).reply(Recollection()))
    assert isinstance(deltas[0], Heard)
    assert words(deltas)
    assert any(isinstance(d, SpeechDelta) for d in deltas)


def test_a_text_is_spoken_in_a_voice_that_there_is(model: EChatModel) -> None:
    pieces = list(model.say("hello", emotion=ReplyEmotion.NEUTRAL, voice="ada"))
    assert sum(len(p.samples) for p in pieces) > 0
    assert "".join(p.text for p in pieces) == "hello"
    with pytest.raises(UnsupportedError, match="ada"):
        list(model.say("hello", emotion=ReplyEmotion.NEUTRAL, voice="eve"))


def test_without_a_voice_it_answers_in_writing(network: EChatForConditionalGeneration) -> None:
    mute = EChatModel("tiny", Engine(network), Bytes(), Abilities(), **CALM)
    deltas = list(utterance(mute).reply(Recollection()))
    assert words(deltas)
    assert not any(isinstance(d, SpeechDelta) for d in deltas)
    with pytest.raises(UnsupportedError, match="voices add"):
        list(mute.say("hello", emotion=ReplyEmotion.NEUTRAL))


def test_osum_understands_and_does_not_answer(network: EChatForConditionalGeneration) -> None:
    osum = EChatModel(
        "osum",
        Engine(network),
        Bytes(),
        Abilities(chats=False),
        seed=1,
        max_tokens=30,
        is_speech=np.any,
    )
    assert isinstance(osum.understand(utterance(osum), ["asr", "ser"]), str)
    with pytest.raises(UnsupportedError, match="does not answer"):
        list(utterance(osum).reply(Recollection()))


def test_an_unknown_task_is_refused_by_name(model: EChatModel) -> None:
    with pytest.raises(ConfigError, match="juggle"):
        model.understand(utterance(model), ["juggle"])


def test_a_cue_that_is_switched_off_is_unknown(network: EChatForConditionalGeneration) -> None:
    private = EChatModel(
        "tiny",
        Engine(network),
        Bytes(),
        Abilities(),
        infer=frozenset({"gender"}),
        seed=1,
        max_tokens=30,
        is_speech=np.any,
    )
    assert utterance(private).heard().cues.emotion.why == "switched off"
