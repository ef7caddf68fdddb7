"""What a device may send, and what comes of what it may not."""

from __future__ import annotations

import json
import secrets
import struct

import pytest
import websockets

from echat_plugins.xiaozhi.binary import packed, unpacked
from echat_plugins.xiaozhi.faults import Fault
from echat_sdk.testing import FakeModel, Line, RAMMemory
from tests.plugins.xiaozhi.device import Device, device, refused, service_of, serving, tone


class Unwilling(RAMMemory):
    """A memory whose users agreed to nothing."""

    def allowed(self, user: str) -> frozenset[str]:
        return frozenset()


async def closed(robot: Device) -> tuple[int, str]:
    """With which code and reason the server hangs up."""
    with pytest.raises(websockets.ConnectionClosed) as hung_up:
        await robot.until("nothing that is ever told")
    received = hung_up.value.rcvd
    assert received is not None
    return received.code, received.reason


async def test_garbage_is_let_pass_and_the_next_turn_is_answered() -> None:
    async with serving(service_of(FakeModel(Line("hi")))) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("start", "manual")
        for garbage in (b"", b"\xff" * 50, secrets.token_bytes(400), "no json", "[]", "{}"):
            await robot.socket.send(garbage)
        for message in (
            {"type": 3},
            {"type": "iot", "states": []},
            {"type": "listen", "state": "sing"},
            {"type": "listen", "state": "detect", "text": "x" * 5000},
            {"type": "mcp", "payload": "text"},
            {"type": "mcp", "payload": {"id": [1], "result": {}}},
            {"type": "mcp", "payload": {"id": 99, "result": {}}},
        ):
            await robot.socket.send(json.dumps(message))
        await robot.socket.send("[" * 5000)
        await robot.send(tone(0.6))
        await robot.listen("stop", "manual")
        await robot.until("tts", state="stop")
    assert robot.kinds().count("stt") == 1


async def test_who_sends_nothing_but_garbage_is_let_go() -> None:
    async with serving() as port, device(port) as robot:
        await robot.hello()
        for _ in range(60):
            await robot.socket.send(b"\xff" * 50)
            await robot.socket.send("nonsense")
        await robot.listen("start")
        code, _ = await closed(robot)
    assert code == 1008


async def test_a_frame_that_is_too_long_is_let_pass_and_a_message_ends_it() -> None:
    async with serving() as port:
        async with device(port) as robot:
            await robot.hello()
            await robot.listen("start")
            await robot.send_packet(b"\0" * 5000)
            await robot.listen("detect", text="hello")
            await robot.until("tts", state="stop")
            await robot.socket.send(b"\0" * 100_000)
            code, _ = await closed(robot)
        assert code == 1009
        assert await refused(port) == 101  # it lives


async def test_who_sends_too_much_at_once_is_let_go() -> None:
    options = {"messages_burst": 20, "messages_per_second": 0.01}
    async with serving(**options) as port, device(port) as robot:
        await robot.hello()
        for _ in range(100):
            await robot.socket.send('{"type": "abort"}')
        code, _ = await closed(robot)
    assert code == 1008


async def test_more_sound_than_time_can_hold_is_let_pass() -> None:
    async with serving(sound_burst=1.0) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("start", "manual")
        await robot.send(tone(2.4))
        await robot.listen("stop", "manual")
        await robot.until("tts", state="stop")
    assert robot.kinds().count("stt") == 1


@pytest.mark.parametrize(
    "hello",
    [
        {"type": "listen", "state": "start"},
        {"type": "hello", "version": 7},
        {"type": "hello", "version": 2},  # and the header says 1
        {"type": "hello", "transport": "udp"},
        {"type": "hello", "audio_params": {"format": "pcm"}},
        {"type": "hello", "audio_params": {"channels": 2}},
    ],
)
async def test_who_says_no_hello_that_can_be_met_is_let_go(hello: dict[str, object]) -> None:
    async with serving() as port, device(port) as robot:
        await robot.socket.send(json.dumps(hello))
        code, _ = await closed(robot)
    assert code == 1008
    assert not robot.told


async def test_who_says_nothing_at_all_is_let_go() -> None:
    async with serving(hello_seconds=0.1) as port, device(port) as robot:
        code, reason = await closed(robot)
    assert (code, reason) == (1008, "say hello first")


@pytest.mark.parametrize(
    "options", [{"idle_seconds": 0.2}, {"quiet_seconds": 0.1}, {"total_seconds": 0.3}]
)
async def test_a_session_ends_that_nobody_uses_or_that_lasted_long(
    options: dict[str, float],
) -> None:
    async with serving(**options) as port, device(port) as robot:
        await robot.hello()
        code, _ = await closed(robot)
    assert code == 1000


async def test_no_more_devices_than_there_is_room_for() -> None:
    async with serving(sessions=1) as port, device(port) as robot:
        await robot.hello()
        assert await refused(port, **{"Device-Id": "aa:bb"}) == 503


async def test_a_device_that_comes_again_takes_the_place_of_the_one_before() -> None:
    async with serving() as port, device(port) as before:
        await before.hello()
        async with device(port) as robot:
            await robot.hello()
            assert (await closed(before))[0] == 1000
            await robot.listen("detect", text="hello")
            await robot.until("tts", state="stop")


async def test_a_device_that_goes_ends_its_session() -> None:
    async with serving(sessions=1) as port:
        async with device(port) as robot:
            await robot.hello()
            await robot.say(type="goodbye")
            assert (await closed(robot))[0] == 1000
        async with device(port, name="aa:bb") as other:
            await other.hello()


async def test_who_did_not_agree_is_shown_so_and_not_heard() -> None:
    devices = {"24:0a:c4:00:01:10": {"user": "ada"}}
    service = service_of(memory=Unwilling())
    async with serving(service, devices=devices) as port, device(port) as robot:
        with pytest.raises(websockets.ConnectionClosed):
            await robot.hello()
    assert [each["type"] for _, each in robot.told] == ["alert"]


async def test_the_end_of_the_server_is_the_end_of_its_sessions() -> None:
    async with serving() as port, device(port) as robot:
        await robot.hello()
    with pytest.raises(websockets.ConnectionClosed):
        await robot.socket.recv()


async def test_words_and_names_never_enter_the_log(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel(Line("my secret", error=ValueError("my secret")))
    with caplog.at_level("DEBUG", "echat_plugins"):
        async with serving(service_of(model)) as port:
            async with device(port) as robot:
                await robot.hello()
                await robot.listen("detect", text="my secret")
                await robot.until("stt")
                await robot.socket.send('{"type": "my secret", "state": "my secret"')
                await robot.listen("my secret")
                await robot.until("tts", state="stop")
            await refused(port, **{"Device-Id": "not a name"})
    for word in ("my secret", "24:0a:c4", "9b0e4a6e", "not a name"):
        assert word not in caplog.text


@pytest.mark.parametrize(
    ("frame", "version"),
    [
        (b"", 2),
        (b"\0" * 15, 2),
        (b"\0" * 3, 3),
        (struct.pack(">HHIII", 3, 0, 0, 0, 0), 2),
        (struct.pack(">HHIII", 2, 5, 0, 0, 0), 2),
        (struct.pack(">HHIII", 2, 0, 0, 0, 2**31) + b"xx", 2),
        (struct.pack(">BBH", 0, 0, 9) + b"xx", 3),
        (struct.pack(">BBH", 1, 0, 2) + b"\xff\xff", 3),
    ],
)
def test_a_head_that_lies_is_refused(frame: bytes, version: int) -> None:
    with pytest.raises(Fault):
        unpacked(frame, version)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_is_packed_is_unpacked(version: int) -> None:
    assert unpacked(packed(b"opus", version, 60), version) == b"opus"  # type: ignore[arg-type]


async def test_a_message_may_come_in_a_binary_frame() -> None:
    text = json.dumps({"type": "listen", "state": "detect", "text": "hello"}).encode()
    async with serving() as port, device(port, version=3) as robot:
        await robot.hello()
        await robot.socket.send(struct.pack(">BBH", 1, 0, len(text)) + text)
        await robot.until("stt", text="hello")
