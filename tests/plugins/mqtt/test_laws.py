"""Laws of the server's side, on virtual time and without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_plugins.mqtt import MQTT, MQTTOptions, transport
from echat_plugins.mqtt.frame import Codec, Frame
from echat_plugins.mqtt.link import Incoming
from echat_plugins.mqtt.messages import (
    OUT_CONTROL,
    Answer,
    Bye,
    Command,
    Hello,
    Interrupt,
    Mute,
    Tell,
    Welcome,
    read,
)
from echat_sdk.agent.live import Live
from echat_sdk.testing import FakeModel, Line, virtual_time
from tests.plugins.mqtt.served import service

DEVICES = st.sampled_from(["robot1", "robot2", "robot3"])
IDS = st.integers(0, 11).map(lambda n: f"command{n:02d}")
TELLS = st.builds(Tell, id=IDS, text=st.sampled_from(["one", "two"]))
COMMANDS = st.one_of(
    TELLS,
    TELLS,
    st.builds(Hello, id=IDS, stream=st.integers(0, 2)),
    st.builds(Mute, id=IDS, muted=st.booleans()),
    st.builds(Interrupt, id=IDS),
    st.builds(Bye, id=IDS),
)
CONTROL = st.one_of(COMMANDS.map(Command.render), st.binary(max_size=40), st.none())
FRAMES = st.builds(
    Frame,
    codec=st.sampled_from(Codec),
    length=st.sampled_from([20, 60]),
    stream=st.integers(0, 2),
    sequence=st.integers(0, 9),
    timestamp=st.just(0),
    data=st.sampled_from([bytes(640), b"x"]),
).map(Frame.render)
HAPPENINGS = st.one_of(
    st.tuples(DEVICES, st.just("in/control"), CONTROL),
    st.tuples(DEVICES, st.just("in/audio"), FRAMES | st.binary(max_size=40) | st.none()),
    st.tuples(DEVICES, st.just("presence"), st.sampled_from([b'{"online":false}', b"", b"x"])),
)


class QuietLink:
    """A network that brings everything."""

    def __init__(self, *_: Any, on_message: Callable[[Incoming], None], **__: Any) -> None:
        self.come = on_message
        self.sent: list[tuple[str, bytes]] = []

    async def run(self) -> None:
        await asyncio.Event().wait()

    def send(self, topic: str, payload: bytes) -> None:
        pass

    async def send_sure(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        self.sent.append((topic, payload))
        return True


@pytest.mark.slow
@settings(max_examples=8)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.3]), HAPPENINGS), max_size=40))
def test_whatever_devices_send_they_are_answered_and_nothing_is_done_twice(
    history: list[tuple[float, tuple[str, str, bytes | None]]],
) -> None:
    done: list[str] = []
    typed = Live.typed

    def listening(live: Live, text: str, *rest: Any) -> Any:
        done.append(text)
        return typed(live, text, *rest)

    async def main() -> None:
        served = MQTT(MQTTOptions.model_validate({"caps": {"devices": 2, "idle": 1e9}}))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(served.run(service(FakeModel(Line("x", ())))), name="server")
            await asyncio.sleep(0)
            link: Any = served._link
            for device in ("robot1", "robot2"):
                hello = Hello(id=f"begin_{device}", stream=1)
                link.come(Incoming(f"echat/v1/home/{device}/in/control", hello.render()))
            await asyncio.sleep(1)
            assert served.devices == 2
            for wait, (device, leaf, payload) in history:
                link.come(Incoming(f"echat/v1/home/{device}/{leaf}", payload))
                await asyncio.sleep(wait)
            await asyncio.sleep(60)
            assert served.devices <= 2
            assert served.refused["failed"] == 0
            for device in ("robot1", "robot2", "robot3"):  # all of them live, and are heard
                hello = Hello(id=f"hello_{device}", stream=1)
                link.come(Incoming(f"echat/v1/home/{device}/in/control", hello.render()))
                # Threads end in real time, while virtual time flies.
                async with asyncio.timeout(100_000):
                    while hello.id not in answers(link, device):  # noqa: ASYNC110
                        await asyncio.sleep(100)
                said = answers(link, device)[hello.id]
                assert isinstance(said[-1], Welcome) or said[-1].code == "full"
            task.cancel()
        check(link, history)

    def answers(link: Any, device: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for topic, payload in link.sent:
            if topic == f"echat/v1/home/{device}/out/control":
                message = read(OUT_CONTROL, payload)
                if isinstance(message, Answer | Welcome):
                    found.setdefault(message.to, []).append(message)
        return found

    def check(link: Any, history: list[Any]) -> None:
        tells = 0
        for device in ("robot1", "robot2", "robot3"):
            said = answers(link, device)
            for command, all_said in said.items():
                if command:  # what was done is answered in one way, however often it is asked for
                    yes = {each.render() for each in all_said if getattr(each, "ok", True)}
                    assert len(yes) <= 1
            kinds: dict[str, list[type[Command]]] = {}
            for _, (whose, leaf, payload) in history:
                if whose == device and leaf == "in/control" and payload:
                    for kind in (Tell, Hello, Mute, Interrupt, Bye):
                        try:
                            command = kind.model_validate_json(payload)
                        except ValueError:
                            continue
                        kinds.setdefault(command.id, []).append(kind)
            tells += sum(Tell in kinds[each] for each in kinds)
        assert len(done) <= tells

    with patch.object(transport, "Link", QuietLink), patch.object(Live, "typed", listening):
        virtual_time.run(main())
