"""The realtime session over WebRTC: sound on audio tracks, events on a data channel.

    POST /v1/realtime/calls ──▶ offer ──▶ Call ──▶ answer
    audio track ──▶ CallLine ──▶ Session ──▶ CallLine ──▶ audio track, 20 ms at a time
    data channel ──▶ events ──▶ Session ──▶ events ──▶ data channel

No other machine is asked who we are: calls are taken at the address that the caller reached, and
nothing is sent to an address before it has shown the call's password from there.
"""

from echat_sdk.server.webrtc.offer import BODY
from echat_sdk.server.webrtc.routes import NOT_TAKEN, PATH, not_taken, routes

__all__ = ["BODY", "NOT_TAKEN", "PATH", "not_taken", "routes"]
