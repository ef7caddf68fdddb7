"""One call: a peer connection, and the session that is held over it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from echat_sdk.audio import Seconds, Waveform
from echat_sdk.bridge import Worker
from echat_sdk.server.allowance import Allowance
from echat_sdk.server.limits import Limits
from echat_sdk.server.observer import Observer
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.session import Session
from echat_sdk.server.webrtc.channel import Channel
from echat_sdk.server.webrtc.offer import Offer
from echat_sdk.server.webrtc.sounding import Sounding
from echat_sdk.server.webrtc.track import CallLine

if TYPE_CHECKING:
    from echat_sdk.agent.service import Service
    from echat_sdk.server.caller import Caller

_ANSWER: Seconds = 5.0  # for an answer to an offer
_CONNECT: Seconds = 20.0  # from the answer until events can be told
_CLOSE: Seconds = 3.0
_LOOK: Seconds = 1.0
_BURST: Seconds = 10.0  # of sound that a network held back, and brings at once


class Call:
    """A caller's call; `answer` it, then `run` it.

    Args:
        service: What is served.
        caller: Who calls.
        model: As they called it.
        limits: Caps.
        observer: Told of turns.
        opening: A thread in which detectors are opened.

    Attributes:
        id: Of the call.
        caller: Who calls.
    """

    def __init__(
        self,
        service: Service,
        caller: Caller,
        model: str,
        limits: Limits,
        observer: Observer,
        opening: Worker,
    ) -> None:
        self.id = f"rtc_{secrets.token_hex(16)}"
        self.caller = caller
        self._service = service
        self._model = model
        self._limits = limits
        self._observer = observer
        self._opening = opening
        # Without a word here, a server of somebody else's would be asked for our address.
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._line = CallLine(
            service.model.sample_rate,
            on_sound=lambda: self._sounding.sounds(),
            on_dropped=lambda: self._sounding.dropped(),
        )
        self._channel = Channel(limits, on_told=lambda event: self._sounding.told(event))
        self._sounding = Sounding(self._channel.put, lambda: self._line.heard, self._truncate)
        self._track: MediaStreamTrack | None = None

    async def answer(self, offer: Offer, address: str) -> str:
        """Our SDP to theirs.

        Args:
            offer: Theirs.
            address: Of this machine, where the call is taken.

        Raises:
            Fault: the offer cannot be taken.
        """
        session: Mapping[str, Any] = {**self.caller.session, **offer.session}
        self.caller = replace(self.caller, session=session)
        peer = self._peer
        peer.on("datachannel", self._channel.take)
        peer.on("track", self._take)
        peer.on("connectionstatechange", self._changed)
        audio = peer.addTransceiver(self._line.track, direction="sendrecv")
        able = RTCRtpReceiver.getCapabilities("audio")
        assert able is not None
        audio.setCodecPreferences([each for each in able.codecs if each.mimeType == "audio/opus"])
        try:
            async with asyncio.timeout(_ANSWER):
                await peer.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
                take_at(peer, address)
                await peer.setLocalDescription(await peer.createAnswer())
        except Exception as error:
            # What a stranger's text does to a parser is any error; it is the text that is wrong.
            raise Fault(
                "the offer cannot be answered: expected Opus and a data channel, over DTLS",
                code="invalid_offer",
                param="sdp",
            ) from error
        if not any(line.startswith("a=candidate:") for line in _lines(peer)):
            raise Fault(
                f"no call can be taken at {address}", code="no_address", kind="server_error"
            )
        return peer.localDescription.sdp

    async def run(self) -> None:
        """Hold the session until either side ends it; then close."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONNECT):
                    if not await self._channel.opened():
                        return
                async with asyncio.timeout(self._limits.total_seconds):
                    await self._talk()
        finally:
            await self.close()

    def end(self) -> None:
        """End it soon."""
        self._channel.end()

    async def close(self) -> None:
        """Hang up."""
        self._channel.end()
        self._line.track.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE):
                await self._peer.close()

    async def _talk(self) -> None:
        session = Session(
            self._service,
            self.caller,
            self._model,
            self._channel.put,
            await self._opening.call(self._service.open_vad),
            on_turn=self._observer.turn,
            on_state=self._sounding.state,
            line=self._line,
        )
        self._channel.heard()
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._watch(), name="echat-call-watch")]
            if self._track is not None:
                hearing = self._hear(session, self._track)
                beside.append(group.create_task(hearing, name="echat-call-hearing"))
            try:
                await session.run(self._channel.next)
            finally:
                self._channel.end()
                for task in beside:
                    task.cancel()

    async def _hear(self, session: Session, track: MediaStreamTrack) -> None:
        sound = Allowance(self._limits.audio_rate, _BURST)
        is_full = False
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)
            if not sound.take(frame.samples / frame.sample_rate):
                self._channel.end("sound came faster than it is heard")
                return
            self._channel.heard()
            try:
                await session.hear(_mono(frame), frame.sample_rate)
                is_full = False
            except Fault as fault:
                if not is_full:  # fifty times a second would be said else
                    self._channel.put(fault.as_event(None))
                is_full = True

    async def _watch(self) -> None:
        """End it where nobody is there any more, or where its peer floods us."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._channel.is_idle(asyncio.get_running_loop().time()):
                self._channel.end("nothing came for too long")
            # A peer that heeds no window makes messages without an end, which are held here.
            if self._peer.sctp is not None and self._peer.sctp._advertised_rwnd < 0:
                self._channel.end("a message did not end")

    def _take(self, track: MediaStreamTrack) -> None:
        self._track = track

    def _changed(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._channel.end()

    def _truncate(self, item: str, heard: Seconds) -> None:
        self._channel.ask(
            {
                "type": "conversation.item.truncate",
                "item_id": item,
                "content_index": 0,
                "audio_end_ms": int(1000 * heard),
            }
        )


def take_at(peer: RTCPeerConnection, address: str) -> None:
    """Take a call at one address of this machine, and at no other.

    Args:
        peer: Knows the other side's description, and has not given its own.
        address: IPv4 or IPv6.
    """
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    at = str(mapped or parsed)
    transports = {each.receiver.transport.transport for each in peer.getTransceivers()}
    if peer.sctp is not None:
        transports.add(peer.sctp.transport.transport)
    for transport in transports:
        # aiortc has no option for it: left alone it listens at every address but loopback.
        connection = transport.iceGatherer._connection
        gather = _only(connection.get_component_candidates, at)
        connection.get_component_candidates = gather  # type: ignore[method-assign]


def _only(gather: Callable[..., Any], address: str) -> Callable[..., Any]:
    return lambda component, addresses: gather(component, [address])


def _lines(peer: RTCPeerConnection) -> list[str]:
    return peer.localDescription.sdp.splitlines()


def _mono(frame: AudioFrame) -> Waveform:
    """The mean of its channels, int16. Shape [S]."""
    samples = frame.to_ndarray()
    if frame.format.is_planar:
        samples = samples.T
    channels = samples.reshape(frame.samples, -1).astype(np.int32)
    mean: Waveform = (channels.sum(axis=1) // channels.shape[1]).astype(np.int16)
    return mean
