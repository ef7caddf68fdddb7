"""OpenAI's Python package, as it is, leads the dialogue: asynchronous, blocking, in the beta."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.sdk.server.clients.dialogue import MUST, Dialogue, check, scripted
from tests.sdk.server.clients.leading import lead, lead_blocking
from tests.sdk.server.clients.served import served, speech

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_the_asynchronous_client(tmp_path: Path) -> None:
    model, first, second = scripted(), Dialogue(), Dialogue()
    with served(tmp_path, model) as server:
        async with AsyncOpenAI(api_key=server.key, base_url=server.http) as client:
            async with client.realtime.connect(model="echat") as connection:
                steps = first.first(speech("happy"), speech("news"))
                await lead(connection, steps, first.told)
            async with client.realtime.connect(model="echat") as connection:
                await lead(connection, second.second(speech("happy")), second.told)
        check({**first.found, **second.found}, model, server)


def test_the_blocking_client(tmp_path: Path) -> None:
    model, first, second = scripted(), Dialogue(), Dialogue()
    with served(tmp_path, model) as server:
        with OpenAI(api_key=server.key, base_url=server.http) as client:
            with client.realtime.connect(model="echat") as connection:
                lead_blocking(connection, first.first(speech("happy"), speech("news")), first.told)
            with client.realtime.connect(model="echat") as connection:
                lead_blocking(connection, second.second(speech("happy")), second.told)
        check({**first.found, **second.found}, model, server)


def test_the_client_of_the_beta(tmp_path: Path) -> None:
    model, first, second = scripted(), Dialogue(), Dialogue()
    with served(tmp_path, model) as server:
        with OpenAI(
            api_key=server.key, base_url=server.http, websocket_base_url=server.ws
        ) as client:
            with client.beta.realtime.connect(model="gpt-realtime") as connection:
                steps = first.first(speech("happy"), speech("news"))
                lead_blocking(connection, steps, first.told, beta=True)
            with client.beta.realtime.connect(model="gpt-realtime") as connection:
                lead_blocking(connection, second.second(speech("happy")), second.told, beta=True)
        must = MUST - {"conversation.item.done"}
        check({**first.found, **second.found}, model, server, must)
