from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.consent import (
    IN_WORDS,
    REMEMBERED,
    RUN,
    TRANSITIONS,
    Consent,
    Consents,
    ConsentState,
    Purpose,
    barred_in,
    check_transition,
    checked,
    consented,
    in_session,
    permitted,
    recallable,
    shared_with,
)
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import ConsentError
from echat_sdk.turn import Recollection, Turn

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
PURPOSES = [*map(str, Purpose), shared_with("captions")]
SAD = Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2})
CUES = Cues(SAD, Cue("female", 0.9), Cue("old", 0.7), Cue("cry", 0.6), Cue("日常口语", 0.5))
TURN = Turn(
    "My dog died.",
    cues=CUES,
    think="<SAD>",
    reply="I'm so sorry.",
    reply_emotion=ReplyEmotion.SAD,
    strategy="loss",
    seconds=2.5,
)
NEEDS = {
    "emotion": Purpose.INFER_EMOTION,
    "gender": Purpose.INFER_GENDER,
    "age": Purpose.INFER_AGE,
    "events": Purpose.INFER_EMOTION,
    "style": Purpose.INFER_EMOTION,
}
_allowed = st.frozensets(st.sampled_from(PURPOSES))


def test_there_are_ten_purposes_and_five_states_and_each_is_told_in_words() -> None:
    assert len(PURPOSES) == 10
    assert len(ConsentState) == 5
    assert set(IN_WORDS) == set(Purpose)
    assert set(TRANSITIONS) == set(ConsentState)


@pytest.mark.parametrize("state", ConsentState)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_only_what_was_granted_is_allowed(purpose: str, state: ConsentState) -> None:
    consents = Consents({purpose: Consent(state, NOW)})
    assert consents.allowed(NOW) == ({purpose} if state is ConsentState.GRANTED else set())
    assert not Consents().allows(purpose, NOW)
    refuses = state in (ConsentState.DENIED, ConsentState.WITHDRAWN, ConsentState.EXPIRED)
    assert consents.refused(NOW) == ({purpose} if refuses else set())


@pytest.mark.parametrize("state", ConsentState)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_an_answer_outranks_what_the_host_has_seen_to_and_a_bar_outranks_both(
    purpose: str, state: ConsentState
) -> None:
    consents = Consents({purpose: Consent(state, NOW)}, unasked=frozenset({purpose}))
    granted = state in (ConsentState.GRANTED, ConsentState.UNKNOWN)
    assert consents.allows(purpose, NOW) == granted
    barred = Consents(consents.given, consents.unasked, frozenset({purpose}))
    assert not barred.allows(purpose, NOW)


def test_a_consent_ends_at_its_time() -> None:
    consent = Consent(ConsentState.GRANTED, NOW, expires_at=NOW + timedelta(days=1))
    consents = Consents({Purpose.TRAIN: consent})
    assert consents.allows(Purpose.TRAIN, NOW + timedelta(hours=23))
    assert not consents.allows(Purpose.TRAIN, NOW + timedelta(days=1))
    assert consents.refused(NOW + timedelta(days=1)) == {Purpose.TRAIN}


def test_what_was_never_granted_cannot_be_withdrawn_and_nothing_becomes_unknown_again() -> None:
    with pytest.raises(ConsentError, match="train is unknown: it can become denied or granted"):
        check_transition("train", ConsentState.UNKNOWN, ConsentState.WITHDRAWN)
    for after in TRANSITIONS.values():
        assert ConsentState.UNKNOWN not in after
    assert ConsentState.DENIED not in TRANSITIONS[ConsentState.GRANTED]


@pytest.mark.parametrize("purpose", ["", "sell", "share_plugin:", "share_plugin:a b", "TRAIN"])
def test_what_is_no_purpose_is_refused_in_words(purpose: str) -> None:
    with pytest.raises(ConsentError, match="one of process_voice, infer_emotion"):
        checked(purpose)
    with pytest.raises(ConsentError):
        shared_with("x" * 51)


# --- inference -------------------------------------------------------------------------------


@given(_allowed)
def test_a_cue_is_known_only_where_its_inference_is_allowed(allowed: frozenset[str]) -> None:
    heard = consented(CUES, allowed)
    for name, need in NEEDS.items():
        cue = getattr(heard, name)
        assert cue == (getattr(CUES, name) if need in allowed else Cue(why="not consented"))


@given(_allowed)
def test_a_thought_tells_of_no_cue_that_was_not_consented(allowed: frozenset[str]) -> None:
    held = in_session(TURN, allowed)
    assert held.transcript == TURN.transcript
    assert held.cues == consented(CUES, allowed)
    assert bool(held.think) == (RUN - {Purpose.PROCESS_VOICE} <= allowed)


@pytest.mark.parametrize("deployment", ["workplace", "education"])
def test_at_work_and_in_education_nobody_can_agree_to_emotion_unless_exempt(
    deployment: str,
) -> None:
    granted = {p: Consent(ConsentState.GRANTED, NOW) for p in PURPOSES}
    barred = Consents(granted, barred=barred_in(deployment))  # type: ignore[arg-type]
    assert set(PURPOSES) - barred.allowed(NOW) == {"infer_emotion", "store_emotion"}
    for exemption in ("medical", "safety"):
        assert not barred_in(deployment, exemption)  # type: ignore[arg-type]
    assert not barred_in("private")
    assert not barred_in("service")


# --- writing and reading ---------------------------------------------------------------------


@given(_allowed)
def test_what_is_kept_of_a_turn_is_what_the_table_allows(allowed: frozenset[str]) -> None:
    kept = permitted(TURN, allowed)
    words, sound = Purpose.STORE_TRANSCRIPT in allowed, Purpose.STORE_EMOTION in allowed
    nothing = not {Purpose.LONG_TERM_MEMORY, Purpose.PROCESS_VOICE} <= allowed or not (
        words or sound
    )
    if nothing:
        assert kept is None
        return
    assert kept is not None
    assert bool(kept.transcript) == bool(kept.reply) == words
    for cue, need in NEEDS.items():
        assert getattr(kept.cues, cue).is_known == (sound and need in allowed)
    feels = sound and Purpose.INFER_EMOTION in allowed
    assert (kept.reply_emotion is ReplyEmotion.SAD) == feels
    assert bool(kept.strategy) == (words and feels)
    assert bool(kept.think) == (words and allowed >= REMEMBERED)


@given(_allowed)
def test_what_is_kept_is_kept_again_unchanged(allowed: frozenset[str]) -> None:
    kept = permitted(TURN, allowed)
    assert kept is None or permitted(kept, allowed) == kept
    assert kept != TURN or allowed >= REMEMBERED


def test_who_agreed_to_be_remembered_is_kept_whole() -> None:
    assert permitted(TURN, REMEMBERED) == TURN
    assert in_session(TURN, RUN) == TURN


@given(_allowed)
def test_recall_gives_nothing_that_is_no_longer_allowed(allowed: frozenset[str]) -> None:
    found = Recollection((TURN,), "sad of late", ("their dog is called Rex",), key="k")
    given_out = recallable(found, allowed)
    assert given_out.key == "k"
    assert all(turn == permitted(TURN, allowed) for turn in given_out.turns)
    remembers = Purpose.LONG_TERM_MEMORY in allowed
    assert bool(given_out.facts) == (remembers and Purpose.STORE_TRANSCRIPT in allowed)
    assert bool(given_out.mood) == (
        remembers and {Purpose.STORE_EMOTION, Purpose.INFER_EMOTION} <= allowed
    )
