"""Ways in for devices are opened by name, with the options of the settings."""

from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from echat_sdk.agent.service import Service
from echat_sdk.cli import serve, transports
from echat_sdk.errors import AudioError, ConfigError
from echat_sdk.server import app as apps
from echat_sdk.server.door import Access
from echat_sdk.server.serving import Listening
from echat_sdk.server.tickets import ClientSecrets
from echat_sdk.testing import FakeModel, RAMMemory
from echat_sdk.testing.audio import ScriptedVAD


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(default=1, ge=1)


class Pipe:
    """A transport that fails as soon as it runs, unless its port is 1."""

    def __init__(self, options: Options) -> None:
        self.options = options

    async def run(self, service: Service) -> None:
        if self.options.port > 1:
            raise AudioError("the pipe is broken; mend it")
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def points(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        EntryPoint("pipe", f"{__name__}:Pipe", transports.GROUP),
        EntryPoint("lost", "echat_no_such_package:X", transports.GROUP),
    ]
    monkeypatch.setattr(transports, "entry_points", lambda group: found)


def opened(name: str, **options: Any) -> Any:
    ((_, way),) = transports.opened([name], {name: options} if options else {})
    return way


def test_a_transport_is_made_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda self: Pipe)
    assert opened("pipe").options.port == 1
    assert opened("pipe", port=7).options.port == 7


@pytest.mark.parametrize("name", ["mqtt", "wyoming", "xiaozhi"])
def test_our_own_are_made_with_no_options_at_all(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "entry_points", entry_points)
    assert opened(name) is not None


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("tube", {}, "no transport 'tube'; there are lost, pipe"),
        ("pipe", {"port": 0}, r"transports\.pipe\.port: .*greater than or equal to 1"),
        ("pipe", {"prot": 1}, r"transports\.pipe\.prot: Extra inputs"),
        ("lost", {}, r'needs the package echat_no_such_package; run: pip install "echat-sdk\[lost'),
    ],
)
def test_what_cannot_be_opened_is_told(
    name: str, options: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = EntryPoint.load
    monkeypatch.setattr(
        EntryPoint, "load", lambda self: Pipe if self.name == "pipe" else load(self)
    )
    with pytest.raises(ConfigError, match=why):
        opened(name, **options)


@pytest.mark.parametrize("port", [1, 2])
def test_a_server_ends_with_a_transport_that_cannot_go_on_and_says_why(port: int) -> None:
    service = Service(FakeModel(), RAMMemory(), RAMMemory, ScriptedVAD)
    app = apps.build(service, access=Access(ClientSecrets(10, 10)))
    listening = Listening(port=0)
    page = serve._Page(listening, open_page=False)

    async def main() -> None:
        async with asyncio.timeout(1):
            await serve._serve(app, listening, 0, page, [Pipe(Options(port=port))], service)

    expected = TimeoutError if port == 1 else AudioError
    with pytest.raises(expected):
        asyncio.run(main())
