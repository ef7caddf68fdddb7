"""The broker of examples/deploy/mosquitto, with the very files and commands that are there."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest
from pydantic import ValidationError

from echat_plugins.mqtt import MQTT, Broker, MQTTOptions
from echat_plugins.mqtt.messages import Hello, TurnEvent, new_id
from echat_sdk.errors import ConfigError
from echat_sdk.testing import FakeModel, Line
from tests.plugins.mqtt.broker import Mosquitto, free_port
from tests.plugins.mqtt.served import comes, robot, service, serving

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).parents[3] / "examples/deploy/mosquitto"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README's commands make, for us and for a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    (commands,) = re.findall(r"```sh\n(.*?)```", (DEPLOY / "README.md").read_text(), re.S)
    for place in (folder, folder / "stranger"):
        place.mkdir(exist_ok=True)
        subprocess.run(["sh", "-ec", commands], cwd=place, check=True, capture_output=True)
    return folder


@pytest.fixture
def deployed(certificates: Path, tmp_path: Path) -> Iterator[Mosquitto]:
    port, home = free_port(), tmp_path / "echat"
    home.mkdir()
    for name in ("ca.crt", "broker.crt", "broker.key"):
        shutil.copy(certificates / name, home)
        (home / name).chmod(0o644)  # Mosquitto gives up root before it reads them
    shutil.copy(DEPLOY / "acl", home)
    config = (DEPLOY / "mosquitto.conf").read_text()
    config = config.replace("/etc/mosquitto/echat", str(home))
    config = config.replace("listener 8883", f"listener {port} 127.0.0.1\nuser root")
    broker = Mosquitto(tmp_path, config, port)
    broker.start()
    yield broker
    broker.stop()


def shown(mosquitto: Mosquitto, folder: Path, name: str, ca: Path | None = None) -> Broker:
    return Broker(
        host="localhost",
        port=mosquitto.port,
        tls=True,
        ca_file=(ca or folder) / "ca.crt",
        cert_file=folder / f"{name}.crt",
        key_file=folder / f"{name}.key",
    )


async def test_a_robot_with_its_certificate_is_served(
    deployed: Mosquitto, certificates: Path
) -> None:
    options = MQTTOptions(broker=shown(deployed, certificates, "echat-server"))
    async with (
        serving(options, service(FakeModel(Line("x")))),
        robot(shown(deployed, certificates, "robot1")) as ada,
    ):
        async with asyncio.timeout(5):
            await ada.device.ready()
        await ada.device.tell("hello")
        assert (await ada.until(TurnEvent)).status == "complete"
        assert ada.device.link.speaks_5


async def test_a_broker_whose_certificate_is_not_ours_is_not_talked_to(
    deployed: Mosquitto, certificates: Path
) -> None:
    ca = certificates / "stranger"
    transport = MQTT(MQTTOptions(broker=shown(deployed, certificates, "echat-server", ca)))
    with pytest.raises(ConfigError, match="certificate is not to be trusted"):
        await transport.run(service(FakeModel()))
    elsewhere = shown(deployed, certificates, "robot1").model_copy(update={"host": "127.0.0.1"})
    with pytest.raises(ConfigError, match="certificate is not to be trusted"):
        async with robot(elsewhere):
            await asyncio.sleep(5)


@pytest.mark.parametrize("whose", ["a stranger's", "nobody's"])
async def test_a_robot_whose_certificate_is_not_of_ours_is_refused_and_told(
    deployed: Mosquitto, certificates: Path, whose: str
) -> None:
    stranger = shown(deployed, certificates / "stranger", "robot1", certificates)
    if whose == "nobody's":
        stranger = stranger.model_copy(update={"cert_file": None, "key_file": None})
    with pytest.raises(ConfigError, match="look at our certificate"):
        async with robot(stranger):
            await asyncio.sleep(8)


async def test_a_robot_cannot_speak_as_another_nor_hear_it(
    deployed: Mosquitto, certificates: Path
) -> None:
    options = MQTTOptions(broker=shown(deployed, certificates, "echat-server"))
    robot1 = shown(deployed, certificates, "robot1")
    async with serving(options, service(FakeModel())) as transport:
        # Who it says that it is, and who its certificate says that it is.
        with pytest.raises(ConfigError, match="ACL"):
            async with robot(robot1, "robot2"):
                await asyncio.sleep(5)
        context = robot1.context()
        async with aiomqtt.Client(
            "localhost",
            deployed.port,
            tls_context=context,
            identifier="echat-server",  # whose place it would like to take
            protocol=aiomqtt.ProtocolVersion.V5,
        ) as client:
            hello = Hello(id=new_id(), stream=1).render()
            await client.publish("echat/v1/home/robot2/in/control", hello, qos=1)
            await client.publish("echat/v1/home/server/presence", b"", qos=1, retain=True)
            await asyncio.sleep(0.3)
            assert (transport.devices, transport._link.connections) == (0, 1)
            await client.publish("echat/v1/home/robot1/in/control", hello, qos=1)
            await comes(lambda: transport.devices == 1)


async def test_a_megabyte_does_not_pass_the_broker(deployed: Mosquitto, certificates: Path) -> None:
    options = MQTTOptions(broker=shown(deployed, certificates, "echat-server"))
    async with (
        serving(options, service(FakeModel(Line("x")))) as transport,
        robot(shown(deployed, certificates, "robot1")) as ada,
    ):
        await ada.device.ready()
        topic = "echat/v1/home/robot1/in/control"
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(
                ada.device.link.send_sure(topic, b"x" * 1_000_000), name="megabyte"
            )
            await asyncio.sleep(0.3)
            sending.cancel()
        await ada.device.tell("hello")
        assert (await ada.until(TurnEvent)).status == "complete"
        assert transport.refused["too_large"] == 0
        assert "Dropped too large PUBLISH" in deployed.log


async def test_a_password_is_asked_for_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    right, wrong, known = tmp_path / "right", tmp_path / "wrong", tmp_path / "known"
    for file, password in ((right, "open sesame"), (wrong, "open barley")):
        file.touch(mode=0o600)
        file.write_text(password + "\n")
    known.touch(mode=0o600)
    made = ["mosquitto_passwd", "-b", str(known), "robot1", "open sesame"]
    await asyncio.to_thread(subprocess.run, made, check=True, capture_output=True)
    config = f"listener {{port}} 127.0.0.1\npassword_file {known}\nuser root\n"
    broker = Mosquitto(tmp_path, config)
    broker.start()
    try:
        asked = broker.broker(username="robot1", password_file=right)
        async with robot(asked) as ada:
            await comes(lambda: ada.device.link.is_up)
        for refused in (broker.broker(username="robot1", password_file=wrong), broker.broker()):
            with pytest.raises(ConfigError, match="does not let us in") as error:
                async with robot(refused):
                    await asyncio.sleep(5)
            assert "barley" not in str(error.value)
    finally:
        broker.stop()


def test_another_machine_is_reached_by_tls_alone(tmp_path: Path) -> None:
    assert Broker(host="robots.example").uses_tls
    assert Broker(host="robots.example").where == 8883
    assert not Broker().uses_tls
    with pytest.raises(ValidationError, match="TLS alone"):
        Broker(host="robots.example", tls=False)
    with pytest.raises(ConfigError, match="expected PEM files"):
        Broker(tls=True, ca_file=tmp_path / "none.crt").context()


def test_a_password_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600") as error:
        Broker(username="robot1", password_file=file).password()
    assert "secret" not in str(error.value)
    file.chmod(0o600)
    assert Broker(username="robot1", password_file=file).password() == "secret"
    named = Broker(username="robot1", password_env="MINE")
    assert named.password({"MINE": "word"}) == "word"
