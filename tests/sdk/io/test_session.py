from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echat_sdk.audio import FRAME_LEN, AudioFrame, Waveform
from echat_sdk.errors import AudioError, AudioFormatError
from echat_sdk.io import recorder as recorder_module
from echat_sdk.io.recorder import SessionRecorder
from echat_sdk.io.session import SessionSettings, read_session
from echat_sdk.io.timed import TimedAudio
from echat_sdk.io.wav import read_audio
from echat_sdk.testing.virtual_time import run

SETTINGS = SessionSettings(
    started="2026-01-01T10:00:00+00:00",
    consent="flag",
    model="fake",
    lang="auto",
    think="tag",
    policy="normal",
    echo="off",
)


def heard(seconds: float) -> list[AudioFrame]:
    """Frames that each hold their own number."""
    return [AudioFrame(np.full(FRAME_LEN, i + 1, np.int16)) for i in range(round(seconds / 0.02))]


async def converse(recorder: SessionRecorder, *, says_at: float, flushed_at: float = 99.0) -> None:
    """Hear all there is; say a second of 7000 at one time, and stop it at another."""
    clock = asyncio.get_running_loop().time

    async def speak() -> None:
        await asyncio.sleep(says_at)
        recorder.tell({"event": "state", "state": "speaking"})
        for _ in range(50):
            if clock() >= flushed_at:
                break
            await recorder.play(np.full(480, 7000, np.int16))

    async def stop() -> None:
        await asyncio.sleep(flushed_at)
        recorder.flush()

    async with asyncio.TaskGroup() as group:
        speaking = group.create_task(speak())
        stopping = group.create_task(stop())
        async for _ in recorder.frames():
            pass
        await speaking
        stopping.cancel()


def loud(samples: Waveform, rate: int) -> tuple[float, float]:
    """Where sound begins and ends, in seconds."""
    at = np.flatnonzero(samples > 3500) / rate
    return float(at[0]), float(at[-1])


def recorded(folder: Path, **kwargs: float) -> None:
    async def main() -> None:
        audio = TimedAudio(heard(3.0))
        async with SessionRecorder(audio, folder, SETTINGS) as recorder:
            await converse(recorder, **kwargs)

    run(main())


def test_both_sides_lie_on_one_clock_beside_events_and_settings(tmp_path: Path) -> None:
    recorded(tmp_path / "s", says_at=1.5)
    session = read_session(tmp_path / "s")
    assert np.array_equal(session.user, np.concatenate([f.samples for f in heard(3.0)]))
    begin, end = loud(read_audio(tmp_path / "s/agent.wav"), 16_000)
    assert begin == pytest.approx(1.5, abs=0.025)
    assert end == pytest.approx(2.5, abs=0.025)
    assert session.events == ({"at": 1.5, "event": "state", "state": "speaking"},)
    assert session.settings == SETTINGS


def test_what_was_flushed_before_it_was_heard_is_not_kept(tmp_path: Path) -> None:
    recorded(tmp_path / "s", says_at=1.0, flushed_at=1.51)
    begin, end = loud(read_audio(tmp_path / "s/agent.wav"), 16_000)
    assert begin == pytest.approx(1.0, abs=0.025)
    assert end == pytest.approx(1.51, abs=0.002)


def test_frames_that_were_lost_on_the_way_leave_silence_in_their_place(tmp_path: Path) -> None:
    class Lossy(TimedAudio):
        async def frames(self) -> Any:
            async for frame in super().frames():
                if not 50 <= frame.samples[0] < 100:
                    yield frame

    async def main() -> None:
        async with SessionRecorder(Lossy(heard(3.0)), tmp_path / "s", SETTINGS) as recorder:
            async for _ in recorder.frames():
                pass

    run(main())
    user = read_session(tmp_path / "s").user
    assert len(user) == 3 * 16_000
    assert not user[49 * 320 : 99 * 320].any()
    assert user[-1] == 150


def test_only_its_owner_may_read_a_session(tmp_path: Path) -> None:
    recorded(tmp_path / "s", says_at=0.1)
    for path in (tmp_path / "s", *(tmp_path / "s").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_crash_leaves_all_but_the_last_second(tmp_path: Path) -> None:
    folder = tmp_path / "left"

    async def main() -> None:
        async with SessionRecorder(TimedAudio(heard(3.0)), tmp_path / "s", SETTINGS) as recorder:
            await converse(recorder, says_at=0.5)
            await recorder._disk.call(lambda: None)  # what was handed over is with the system
            shutil.copytree(tmp_path / "s", folder)  # as a crash would find it

    run(main())
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"at": 2.9, "eve')  # cut in the middle
    session = read_session(folder)
    assert len(session.user) >= 2 * 16_000
    assert [event["event"] for event in session.events] == ["state"]
    assert loud(read_audio(folder / "agent.wav"), 16_000)[1] == pytest.approx(1.5, abs=0.025)


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "diary").write_text("dear")

    async def main() -> None:
        SessionRecorder(TimedAudio(), tmp_path, SETTINGS)

    with pytest.raises(AudioError, match="is not empty"):
        run(main())
    assert [path.name for path in tmp_path.iterdir()] == ["diary"]


def test_a_recording_ends_at_its_limit_and_the_conversation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder_module, "MOST_SECONDS", 2.5)
    with caplog.at_level(logging.WARNING):
        recorded(tmp_path / "s", says_at=0.5)
    assert 2.0 <= len(read_session(tmp_path / "s").user) / 16_000 <= 2.5
    assert caplog.text.count("the recording ends here") == 1


def test_a_full_disk_ends_the_recording_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wave

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(wave.Wave_write, "writeframes", refuse)
    with caplog.at_level(logging.WARNING):
        recorded(tmp_path / "s", says_at=0.5)
    assert caplog.text.count("No space left on device") == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("settings.json", b"{}", "none of a session: started is wrong"),
        ("settings.json", b"hello", "the whole is wrong"),
        ("settings.json", b"[" * 70_000, "larger than 64 KiB"),
        ("events.jsonl", b'{"at": 1}\nhello\n', "line 2: no JSON"),
        ("events.jsonl", b"[" * 100_000 + b"\n", "line 1: no JSON"),
        ("events.jsonl", b'{"event": "turn"}\n', "line 1: no event with its time"),
        ("events.jsonl", b"7\n", "line 1: no event with its time"),
        ("user.wav", b"hello", "not a sound file"),
    ],
)
def test_a_forged_session_is_refused_in_one_plain_line(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    recorded(tmp_path / "s", says_at=0.5)
    (tmp_path / "s" / name).write_bytes(content)
    with pytest.raises(AudioFormatError, match=told) as raised:
        read_session(tmp_path / "s")
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_session_is_told(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"settings.json is not there"):
        read_session(tmp_path)
    (tmp_path / "settings.json").symlink_to("/etc/passwd")
    with pytest.raises(AudioError, match=r"settings.json is not there"):
        read_session(tmp_path)


def test_events_are_kept_as_plain_json_lines(tmp_path: Path) -> None:
    recorded(tmp_path / "s", says_at=0.5)
    (line,) = (tmp_path / "s/events.jsonl").read_text().splitlines()
    assert json.loads(line)["at"] == 0.5
