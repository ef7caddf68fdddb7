from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from echat_sdk.cli.commands import app

DEPLOY = Path(__file__).parents[4] / "examples/deploy"


def unit() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False, comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "echat.service")
    return parser["Service"]


def commands() -> list[list[str]]:
    docker = (DEPLOY / "Dockerfile").read_text()
    (started,) = re.findall(r"^CMD (\[.*\])", docker, re.M)
    return [shlex.split(unit()["ExecStart"])[1:], json.loads(started)]


@pytest.mark.parametrize("arguments", commands())
def test_what_is_deployed_is_started_with_options_that_there_are(arguments: list[str]) -> None:
    serve = get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
    values = serve.make_context("serve", arguments[1:]).params
    assert values["behind_proxy"]
    assert values["log_json"]


def test_what_ends_a_service_waits_for_its_sessions() -> None:
    drain = int(re.findall(r"--drain (\d+)", unit()["ExecStart"])[0])
    assert int(unit()["TimeoutStopSec"]) >= drain + 5


def test_a_service_has_a_user_of_its_own_and_a_small_world() -> None:
    service = unit()
    for what in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp"):
        assert service[what] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    docker = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER \d+", docker, re.M)
