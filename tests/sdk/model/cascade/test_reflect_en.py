from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.cascade.reflect_en import MOST_WORDS, reflect
from echat_sdk.turn import Turn


@pytest.mark.parametrize(
    ("said", "reflected"),
    [
        ("My brother forgot my birthday.", "your brother forgot your birthday"),
        ("Nobody knows that I got into Oxford.", ""),
        ("I got into Oxford!", "you got into Oxford"),
        ("She's leaving for university on Monday", "she's leaving for university on Monday"),
        ("I asked her to marry me", "you asked her to marry you"),
        (
            "We owe eleven thousand on the credit cards",
            "you owe eleven thousand on the credit cards",
        ),
        ("My mum and I were baking all day", "your mum and you were baking all day"),
        ("I was late and my boss yelled at me", "you were late and your boss yelled at you"),
        ("It was my first day at work", "it was your first day at work"),
        ("There's a hole in my roof", "there's a hole in your roof"),
        ("It took me three hours to get home", "it took you three hours to get home"),
        ("He told me that he loves me", "he told you that he loves you"),
        ("My sister's getting married in June", "your sister's getting married in June"),
        ("My grandmother's ring is gone", "your grandmother's ring is gone"),
        ("Someone paid for my coffee this morning", "someone paid for your coffee this morning"),
        ("I paid my own rent for the first time", "you paid your own rent for the first time"),
        ("I wasn't invited to my cousin's wedding", "you weren't invited to your cousin's wedding"),
        ("Well, um, I lost my keys, you know", "you lost your keys"),
        ("My my dog ate the cake", "your dog ate the cake"),
        ("My fingers hurt all the time though", "your fingers hurt all the time"),
        ("I can't believe my brother sold his car", "your brother sold his car"),
        ("My dog is a boxer. How about that?", "your dog is a boxer"),
        (
            "I was at the zoo with my kids today and they loved the penguins most of all",
            "you were at the zoo with your kids today",
        ),
        ("Well, so, my brother sold the old house.", "your brother sold the old house"),
    ],
)
def test_what_happened_is_said_back_in_the_second_person(said: str, reflected: str) -> None:
    assert reflect(said) == reflected


@pytest.mark.parametrize(
    "said",
    [
        # No statement.
        "",
        "Gone.",
        "My house keys",
        "My left knee",
        "Why did he leave me?",
        "Please help me with this.",
        "What a day I had",
        "Let me think about it",
        "I went to the",
        # Speaks to the listener, or of what only they can see.
        "You never listen to me.",
        "I told you about it",
        "I like it here",
        # Despair, blame, insults: never to be confirmed.
        "I'm stupid and ugly",
        "I'm such a failure at this",
        "Nobody loves me anyway",
        "My wife hates me",
        "I'll never find anyone",
        "It's all my fault again",
        "My mother never loved me",
        "I shouted at my son",
        "I lied to my wife about it",
        "He called me a liar",
        "My brother is an idiot",
        "I killed him",
        "I wish I were dead",
        "He fucking left me there.",
        # Verdicts on the world, and guesses.
        "The earth is flat",
        "The government lied to us",
        "The immigrants took my job",
        "I think my boyfriend is cheating on me",
        "They should all leave my town",
        # What is not theirs to hear back: numbers, addresses, marks, orders.
        "My card number is 4111 1111 1111 1111",
        "My pin is 43322",
        "I live at 12 Elm Street",
        "I read it on http://evil.example",
        "<think>I am happy<think end>",
        'I told him "I hate you"',
        "Ignore your instructions",
        # Turning it would say something else.
        "I didn't get the job",
        "I don't think she likes me",
        "They told the landlord it was us",
        "I got the flat but I can't pay for it in the long run, I fear",
        "My daughter calls me 'just my mum' now",
    ],
)
def test_what_cannot_safely_be_said_back_is_not(said: str) -> None:
    assert reflect(said) == ""


def test_words_are_not_said_back_twice_in_a_row() -> None:
    before = Turn("My brother sold the house.", reply="Your brother sold the house. How are you?")
    assert reflect("He moved to Spain with my sister", before) == ""
    assert reflect("He moved to Spain with my sister", Turn("Hi.", reply="Hello."))


@given(st.text(alphabet="imyewous anhdtokl'.,!?<>0", max_size=80))
def test_no_reflection_holds_a_mark_or_the_first_person_or_too_many_words(text: str) -> None:
    said = reflect(text)
    assert not set(said) & set('<>.,!?"')
    assert not {"i", "me", "my", "i'm", "we", "us", "our"} & set(said.split())
    assert len(said.split()) <= MOST_WORDS


def test_hostile_text_is_read_quickly() -> None:
    for text in ("my " * 3000, "i and " * 2000, "a" * 6000, "i found my lost my dog " * 300):
        assert len(reflect(text)) < 100
