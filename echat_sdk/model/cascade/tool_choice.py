"""Which tool somebody asks for, chosen by the small text model of a cascade."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echat_sdk.model.cascade.generator import Message, Sampling, TextGenerator
from echat_sdk.model.tool_prompt import (
    MAX_HEARD_CHARS,
    MAX_TOKENS,
    may_ask,
    read_call,
    tool_prompt,
)
from echat_sdk.safety.danger import detect
from echat_sdk.tools import Tool, ToolCall
from echat_sdk.turn import Heard, Lang

_EXACT = Sampling(temperature=0, repetition_penalty=1, max_tokens=MAX_TOKENS)
_READ = _EXACT.model_copy(update={"max_tokens": 1})


class CascadeToolChooser:
    """Asks the model, where the words have the form of a wish, and reads its answer with distrust.

    Args:
        generator: Gives the small model; asked when it is first needed.
        tools: What it may choose among.
    """

    def __init__(self, generator: Callable[[], TextGenerator], tools: Sequence[Tool]) -> None:
        self._generator = generator
        self._tools = tuple(tools)
        self._heads: dict[Lang, tuple[Message, ...]] = {}

    def warm_up(self, lang: Lang) -> None:
        """Read the tools and their examples in a language; one or two seconds."""
        self._generator().complete([Message("user", ".")], static=self._head(lang), sampling=_READ)

    def choose(self, heard: Heard) -> ToolCall | None:
        """The tool that the words ask for; never one where a life may be at stake."""
        words, lang = heard.transcript, heard.lang
        if not self._tools or detect(words) or not may_ask(words, lang):
            return None
        (completion,) = self._generator().complete(
            [Message("user", words[-MAX_HEARD_CHARS:])], static=self._head(lang), sampling=_EXACT
        )
        return read_call(completion.text, words, self._tools)

    def _head(self, lang: Lang) -> tuple[Message, ...]:
        if lang not in self._heads:
            prompt = tool_prompt(self._tools, lang)
            head = [Message("system", prompt.system)]
            for said, call in prompt.shots:
                head += [Message("user", said), Message("assistant", call)]
            self._heads[lang] = tuple(head)
        return self._heads[lang]
