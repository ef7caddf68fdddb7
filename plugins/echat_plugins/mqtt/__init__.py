"""Robots over MQTT: control, sound, events and affect between a device and its agent.

    Device ──▶ in/control, in/audio ──▶ broker ──▶ MQTT (transport) ──▶ Line ──▶ Agent
    Device ◀── out/control, out/audio, out/event, out/affect ◀── Conversation ◀── events

`MQTT` is the server's side, a `Transport`; `Device` is what a robot's builder uses. The messages
are documented in asyncapi.yaml beside this file. Needs the extra `[mqtt]`.
"""

from echat_plugins.mqtt.broker import Broker
from echat_plugins.mqtt.device import Device
from echat_plugins.mqtt.device_options import DeviceOptions
from echat_plugins.mqtt.options import MQTTOptions
from echat_plugins.mqtt.transport import MQTT

__all__ = ["MQTT", "Broker", "Device", "DeviceOptions", "MQTTOptions"]
