"""Devices with the firmware of xiaozhi-esp32: their WebSocket protocol, versions 1 to 3.

    device ──POST /xiaozhi/ota/──▶ address and token
    device ──hello────────────────▶ hello
           ──listen, Opus─────────▶ Line ──▶ agent ──▶ stt, llm, tts
           ◀─Opus, at its time────  Line ◀──────┘
           ◀─mcp: tools/call──────  DeviceTools ◀── what somebody asks for

A conversation is one agent's, as everywhere; here is how it looks to a device.
"""

from echat_plugins.xiaozhi.options import Device, XiaozhiOptions
from echat_plugins.xiaozhi.transport import Xiaozhi

__all__ = ["Device", "Xiaozhi", "XiaozhiOptions"]
