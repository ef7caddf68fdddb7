"""Home Assistant's voice protocol, Wyoming: it hears, answers and speaks for whoever asks by TCP.

    describe ───────────────────────▶ info
    transcribe, audio-* ────────────▶ transcript            (asr)
    transcript ─────────────────────▶ handled               (handle: an agent, with its memory)
    synthesize ─────────────────────▶ audio-*               (tts)

The protocol asks nobody who they are and hides nothing on the way: loopback, unless it is opened to
networks that are named. The three are separate requests, often over separate connections; how a
voice sounded and how an answer is to sound are carried from one to the next, see `carried`.
"""

from echat_plugins.wyoming_server.options import WyomingOptions
from echat_plugins.wyoming_server.transport import Wyoming

__all__ = ["Wyoming", "WyomingOptions"]
