"""`echat bench model` on a checkpoint small enough to run it whole."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from echat_sdk import cli
from echat_sdk.bench import conversations, decoding, first_packet, model, token2wav
from echat_sdk.bench.decoding import Run, Way
from echat_sdk.bench.token2wav import Schedule
from echat_sdk.model.echat.directory import load
from echat_sdk.model.echat.synthetic import small_config, write_checkpoint
from echat_sdk.model.echat.token2wav.config import SAMPLE_RATE, mel_frames
from echat_sdk.model.echat.token2wav.synthetic import write_synthetic


def silent(what: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a checkpoint named `tiny`, which has a voice."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHAT_HOME", str(home))
        released = write_checkpoint(home / "tag_think_final.safetensors", config=small_config())
        assert cli.run(["models", "convert", str(released), "tiny"]) == 0
    write_synthetic(home / "checkpoints" / "tiny" / "token2wav")
    return home


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    return home / "checkpoints" / "tiny"


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHAT_HOME", str(home))
    monkeypatch.setenv("ECHAT_THREADS", "1")


def test_quick_measures_every_row_that_is_promised(
    at_home: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["bench", "model", "--model", "tiny", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    ways = {"transformers", "ours, float32", "ours, int8"}
    assert {(r["way"], r["rows"]) for r in found["decode"]} == {
        (w, n) for w in ways for n in (1, 8)
    }
    assert all(r["ratio"] > 0 and r["roofline"] > 0 and r["first"] > 0 for r in found["decode"])
    assert {r["ratio"] for r in found["decode"] if r["way"] == "transformers"} == {1.0}
    packet = found["first_packet"]
    assert tuple(packet["stages"]) == first_packet.STAGES
    assert packet["total"] == pytest.approx(sum(t[0] for t in packet["stages"].values()))
    assert 0 < packet["visible"] < packet["total"]
    assert [(r["guidance"], r["ratio"] == 1) for r in found["token2wav"]] == [
        (0.7, True),
        (0, False),
    ]
    assert [t["turn"] for t in found["turns"]] == [1, 4]
    assert all(t["ratio"] > 0 for t in found["turns"])
    assert found["sessions"]["positions"] == 3 * model.QUICK.turn


def test_the_tables_tell_every_row(at_home: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "model", "--model", "tiny", "--quick", "--requests", "2"]) == 0
    told = capsys.readouterr().out
    for piece in ("ours, int8", "front end", "prefill", "chunks of sound", "turn 4", "are held in"):
        assert piece in told


def test_the_full_plan_is_what_the_issue_asks_for() -> None:
    plan = model.Plan()
    assert plan.batches == (1, 8, 32)
    assert plan.turns == (1, 20)
    assert plan.compiles
    assert {schedule.steps for schedule in plan.schedules} >= {10, 5}


def test_a_way_that_cannot_be_measured_says_why_and_the_others_go_on() -> None:
    def broken(rows: int) -> Run:
        raise RuntimeError("No working C++ compiler found\nand a long tail")

    ways = [
        Way("transformers", 10, lambda rows: Run(2.0 * rows, 0.5)),
        Way("compiled", 10, broken, may_fail=True),
        Way("ours", 10, lambda rows: Run(6.0 * rows, 0.1)),
    ]
    rates = iter([50.0, 80.0, 100.0, 70.0])
    rows, best = decoding.measure(
        ways, (1, 4), repeats=2, memory=lambda: next(rates), progress=silent
    )
    assert best == 100.0
    assert [(r.way, r.rows, r.ratio) for r in rows if r.rows == 4] == [
        ("transformers", 4, 1.0),
        ("compiled", 4, None),
        ("ours", 4, 3.0),
    ]
    assert rows[1].note == "not measured: No working C++ compiler found"
    assert rows[2].roofline == pytest.approx(0.6)  # 6 steps a second of 10 bytes, of 100 bytes
    with pytest.raises(RuntimeError, match="No working"):
        decoding.measure(
            [Way("ours", 1, broken)], (1,), repeats=1, memory=lambda: 1.0, progress=silent
        )


def test_ways_take_turns() -> None:
    seen: list[str] = []

    def way(name: str) -> Way:
        def run(rows: int) -> Run:
            seen.append(name)
            return Run(1.0, 1.0)

        return Way(name, 1, run)

    decoding.measure([way("a"), way("b")], (1,), repeats=3, memory=lambda: 1.0, progress=silent)
    assert seen == ["a", "b"] * 4  # the first pair warms up


@pytest.mark.parametrize("rows", [1, 3])
def test_both_sides_are_timed_over_as_many_steps(
    folder: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load(folder)
    clock: list[int] = []
    steps: list[int] = []
    network.backbone.register_forward_hook(lambda *_: steps.append(1))

    def now(device: torch.device) -> float:
        clock.append(len(steps))
        return float(len(clock))

    monkeypatch.setattr(decoding, "now", now)
    decoding.ours("ours", network, 5, 4).run(rows)
    *_, begin, end = clock
    assert end - begin == 5
    clock.clear()
    decoding.theirs(network, 5, 4).run(rows)
    start, first, end = clock
    assert first - start == 1
    assert end - first == 5


def test_every_stage_of_the_first_packet_does_its_own_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load(folder)
    engine = first_packet.engine_for(network)
    spoken = token2wav.open_spoken(folder, network.device)
    reads: list[int] = []
    at: list[tuple[int, ...]] = []
    network.backbone.register_forward_hook(
        lambda _, __, given, ___: reads.append(given["inputs_embeds"].shape[1]), with_kwargs=True
    )
    monkeypatch.setattr(first_packet, "now", lambda device: at.append(tuple(reads)) or 0.0)
    first_packet.measure(engine, spoken, words=7, repeats=1, progress=silent)
    stages = [later[len(earlier) :] for earlier, later in pairwise(at)]
    front_end, encoder, prefill, words, codes = stages
    assert (front_end, encoder) == ((), ())
    heard = prefill[0] - first_packet.HEAD - 1
    assert heard == pytest.approx(first_packet.UTTERANCE * 12.5, abs=2)
    assert len((*prefill[1:], *words)) == 6  # the prefill gives the first of 7
    assert len(codes) >= 15


def test_a_middle_chunk_is_one_of_the_default_plan(folder: Path) -> None:
    spoken = token2wav.open_spoken(folder, torch.device("cpu"))
    first = token2wav.chunk(spoken, Schedule(1), token2wav.DEFAULT_PLAN, 0)[1]
    middle = token2wav.chunk(spoken, Schedule(1), token2wav._MIDDLE, 1)[1]
    hop = 256 / SAMPLE_RATE
    assert first == pytest.approx(mel_frames(10) * hop)
    assert middle == pytest.approx((mel_frames(70) - mel_frames(20)) * hop)


def test_without_a_token2wav_random_networks_say_that_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echat_sdk.model.echat.token2wav.synthetic import tiny_config

    monkeypatch.setattr(token2wav, "Token2WavConfig", tiny_config)
    spoken = token2wav.open_spoken(tmp_path, torch.device("cpu"))
    assert "random networks of the released sizes" in spoken.note
    rows = token2wav.measure(spoken, (Schedule(1),), repeats=2, progress=silent)
    assert len(rows[0].middle) == 2


def test_sessions_are_counted_by_what_one_takes(folder: Path) -> None:
    network = load(folder)
    engine = conversations.engine_for(network, (1, 3), 16)
    rows, parked = conversations.turns(engine, (1, 3), length=16, repeats=1, progress=silent)
    assert [row.positions for row in rows] == [16, 48]
    held = conversations.held(parked, memory=1_000_000)
    assert held.positions == 32
    # 2 layers of 1 head of 64 numbers, keys and values, float32
    assert held.session_bytes == 32 * 2 * 2 * 64 * 4
    assert held.held == 1_000_000 // held.session_bytes


def test_an_unknown_checkpoint_is_refused(at_home: None, capsys: Any) -> None:
    assert cli.run(["bench", "model", "--model", "nobody"]) != 0
    assert "echat models assemble" in capsys.readouterr().err
