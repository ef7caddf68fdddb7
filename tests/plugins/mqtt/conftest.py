from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.mqtt.broker import Mosquitto


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker on loopback that lets everybody in."""
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()
