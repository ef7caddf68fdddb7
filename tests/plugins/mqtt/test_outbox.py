from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_plugins.mqtt.commands import Commands
from echat_plugins.mqtt.messages import Answer, Mute, Tell, id_of, new_id
from echat_plugins.mqtt.outbox import Outbox
from echat_sdk.errors import ConfigError, StoreError
from echat_sdk.testing import virtual_time
from tests.plugins.mqtt.served import comes


def outbox(folder: Path, **more: int) -> Outbox:
    return Outbox(folder / "out", folder / "key", **more)


def opened(folder: Path, **more: int) -> Outbox:
    made = outbox(folder, **more)
    made.open()
    return made


@given(
    payloads=st.lists(st.binary(min_size=1, max_size=200), max_size=8),
    gone=st.sets(st.integers(0, 7)),
)
def test_what_was_kept_is_there_after_a_restart_in_order(
    payloads: list[bytes], gone: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    box = opened(folder)
    kept = [box.put(payload) for payload in payloads]
    for n in gone:
        if n < len(kept):
            box.remove(kept[n].number)
    left = [payload for n, payload in enumerate(payloads) if n not in gone]
    assert [each.payload for each in outbox(folder).open()] == left


def test_no_word_is_readable_on_the_disk(tmp_path: Path) -> None:
    opened(tmp_path).put(b'{"type":"tell","text":"my secret"}')
    (file,) = (tmp_path / "out").iterdir()
    assert b"secret" not in file.read_bytes()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        opened(tmp_path)


def test_what_was_changed_moved_or_cut_off_is_removed(tmp_path: Path) -> None:
    box = opened(tmp_path)
    for n in range(4):
        box.put(b"command %d" % n)
    first, second, third, _ = sorted((tmp_path / "out").iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    second.rename(second.with_name("000000000009.sealed"))
    third.write_bytes(b"")
    (tmp_path / "out" / "000000000010.tmp").write_bytes(b"half")
    assert [each.payload for each in outbox(tmp_path).open()] == [b"command 3"]
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_an_outbox_that_is_full_takes_no_more_and_says_so(tmp_path: Path) -> None:
    box = opened(tmp_path, most=2)
    first = box.put(b"a")
    box.put(b"b")
    with pytest.raises(StoreError, match="2 commands wait"):
        box.put(b"c")
    box.remove(first.number)
    box.put(b"c")
    assert [each.payload for each in outbox(tmp_path, most=2).open()] == [b"b", b"c"]
    with pytest.raises(StoreError, match="at most 65536"):
        opened(tmp_path / "other").put(b"x" * 70_000)


class Server:
    """Answers commands, and loses some messages on the way."""

    def __init__(self, lost: set[int], unanswered: set[int]) -> None:
        self.lost, self.unanswered = lost, unanswered
        self.tries = 0
        self.came: list[bytes] = []
        self.commands: Commands | None = None

    async def send(self, payload: bytes) -> bool:
        self.tries += 1
        if self.tries in self.lost:
            return False
        self.came.append(payload)
        if self.tries not in self.unanswered:
            assert self.commands is not None
            self.commands.take(Answer(to=id_of(payload)))
        return True


@given(lost=st.sets(st.integers(1, 12)), unanswered=st.sets(st.integers(1, 12)))
def test_every_command_is_sent_until_it_is_answered_and_in_order(
    lost: set[int], unanswered: set[int]
) -> None:
    async def main() -> None:
        server, answers = Server(lost, unanswered), []
        commands = server.commands = Commands(
            server.send, None, most=8, keeps=1e9, on_answer=answers.append
        )
        asked = [Mute(id=new_id()) for _ in range(5)]
        commands.ready(True)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(commands.run(), name="commands")
            for command in asked:
                await commands.put(command)
            await comes(lambda: len(answers) == 5, within=1000)
            task.cancel()
        await commands.close()
        assert [answer.to for answer in answers] == [command.id for command in asked]
        assert list(dict.fromkeys(server.came)) == [command.render() for command in asked]
        assert len(commands) == 0

    virtual_time.run(main())


async def test_a_command_that_waited_too_long_is_not_sent_and_that_is_told() -> None:
    now, server, answers = [1000.0], Server(set(), set()), []
    told = asyncio.Event()

    def answered(answer: Answer) -> None:
        answers.append(answer)
        told.set()

    commands = Commands(
        server.send, None, most=8, keeps=60, on_answer=answered, clock=lambda: now[0]
    )
    tell = Tell(id=new_id(), text="good morning")
    await commands.put(tell)
    now[0] += 61
    commands.ready(True)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(commands.run(), name="commands")
        await told.wait()
        task.cancel()
    await commands.close()
    assert [(answer.to, answer.code) for answer in answers] == [(tell.id, "late")]
    assert server.came == []


async def test_too_many_commands_are_refused_where_they_are_given() -> None:
    commands = Commands(Server(set(), set()).send, None, most=2, keeps=60, on_answer=print)
    await commands.put(Mute(id=new_id()))
    await commands.put(Mute(id=new_id()))
    with pytest.raises(StoreError, match="2 commands wait"):
        await commands.put(Mute(id=new_id()))
    await commands.close()
