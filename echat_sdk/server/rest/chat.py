"""`POST /v1/chat/completions`: an answer to typed words.

Two ways, by who the key speaks for. For nobody in particular nothing is kept: the messages are all
that is known, as OpenAI's clients expect of this endpoint. For a user the answer comes from an
`Agent` with their memory, as in a session: it knows what they told before, keeps this turn as far
as they agreed, and grants what they ask for by right. Then earlier messages are not read: memory
has those turns already, and what a client says of them does not outrank it.

System messages are let pass and not followed: no model here was taught to, and text from outside
is data. `temperature`, `seed` and the like are let pass too. What would change what an answer is
(tools, other formats, several answers) is refused.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing

from starlette.responses import JSONResponse, Response

from echat_sdk.agent.agent import Agent
from echat_sdk.agent.consenting import allowed_of
from echat_sdk.agent.exchange import Answer
from echat_sdk.agent.rights import YES_WITHIN
from echat_sdk.agent.service import Service
from echat_sdk.audio import Seconds
from echat_sdk.consent import consented
from echat_sdk.cues import Cues
from echat_sdk.server.caller import Caller
from echat_sdk.server.rest import sse
from echat_sdk.server.rest.bodies import parsed, served
from echat_sdk.server.rest.completion import ChatRequest, Completion
from echat_sdk.server.rest.endpoint import Call, Stream
from echat_sdk.server.rest.limits import RestLimits
from echat_sdk.server.rest.messages import Conversation, conversation_of
from echat_sdk.server.rest.places import Places
from echat_sdk.server.rest.transcriptions import a_guest
from echat_sdk.turn import Delta, Recollection

_MOST_ASKED = 16
"""Agents that wait for a yes; beyond them who was asked longest ago is asked anew."""


class Chat:
    """Answers typed words.

    Args:
        service: Has the model and the memory.
        places: Where requests wait.
        limits: How much may be asked.
    """

    def __init__(self, service: Service, places: Places, limits: RestLimits) -> None:
        self._service = service
        self._places = places
        self._limits = limits
        self._asked: OrderedDict[tuple[str, str], tuple[Seconds, Agent]] = OrderedDict()

    async def answer(self, call: Call) -> Response | Stream:
        """A completion, or its chunks."""
        asked = parsed(ChatRequest, call.body)
        served(asked.model, self._service.model.name)
        talk = conversation_of(asked.messages, self._limits.characters)
        completion = Completion(self._service.model.name, asked)
        deltas = self._deltas(call.caller, talk, asked.cues)
        if asked.stream:
            return Stream(completion.chunks(deltas), sse.MEDIA_TYPE, is_events=True)
        async with aclosing(deltas):
            async for delta in deltas:
                completion.take(delta)
                if completion.is_full:
                    break
        return JSONResponse(completion.whole())

    def _deltas(
        self, caller: Caller, talk: Conversation, cues: Cues
    ) -> AsyncGenerator[Delta | Answer]:
        if caller.user is None:
            return self._for_a_guest(talk, cues)
        return self._for_a_user(caller.key, caller.user, talk.question, cues)

    async def _for_a_guest(self, talk: Conversation, cues: Cues) -> AsyncGenerator[Delta | Answer]:
        service = self._service
        async with self._places.thread() as worker:
            allowed = await worker.call(allowed_of, service.memory, a_guest())
            cues = cues if allowed is None else consented(cues, allowed)

            def reply() -> Iterator[Delta]:
                hearing = service.model.read(talk.question, cues, lang=service.lang)
                return hearing.reply(Recollection(talk.turns), think=service.think, speak=False)

            async with aclosing(worker.iterate(reply)) as deltas:
                async for delta in deltas:
                    yield delta

    async def _for_a_user(
        self, key: str, user: str, question: str, cues: Cues
    ) -> AsyncGenerator[Delta | Answer]:
        # The agent brings threads of its own; this one's rest keeps the number at work.
        async with self._places.thread(), AsyncExitStack() as stack:
            agent = await self._agent(key, user)
            stack.push_async_exit(agent)
            async with aclosing(agent.stream_text(question, cues)) as deltas:
                async for delta in deltas:
                    yield delta
            if agent.awaits_yes and (key, user) not in self._asked:
                stack.pop_all()
                self._asked[key, user] = (time.monotonic(), agent)

    async def _agent(self, key: str, user: str) -> Agent:
        """The agent that asked this user something, if one did; else a new one."""
        now = time.monotonic()
        while self._asked:
            since, old = next(iter(self._asked.values()))
            if now - since <= YES_WITHIN and len(self._asked) < _MOST_ASKED:
                break
            self._asked.popitem(last=False)
            async with old:
                pass  # its threads end
        if (mine := self._asked.pop((key, user), None)) is not None:
            return mine[1]
        return Agent(
            self._service.model,
            self._service.memory,
            user=user,
            think=self._service.think,
            lang=self._service.lang,
            speak=False,
            manner=self._service.manner(user),
        )
