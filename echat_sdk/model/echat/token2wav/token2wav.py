"""The two networks together, loaded from a directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from echat_sdk.audio import FloatWaveform
from echat_sdk.model.echat.token2wav.checkpoint import build_flow, build_vocoder, read_tensors
from echat_sdk.model.echat.token2wav.config import Token2WavConfig
from echat_sdk.model.echat.token2wav.flow import GUIDANCE, STEPS, Flow
from echat_sdk.model.echat.token2wav.stream import DEFAULT_PLAN, ChunkPlan, Solving, Token2WavStream
from echat_sdk.model.echat.token2wav.vocoder import Vocoder
from echat_sdk.model.echat.token2wav.voices import VoicePrompt, voice_names

CONFIG_FILE = "config.json"
FLOW_FILE = "flow.safetensors"
VOCODER_FILE = "vocoder.safetensors"
VOICES = "voices"


class Token2Wav:
    """Speech codes to sound of 22,050 Hz. It holds weights only; many streams may share it.

    Args:
        flow: on the device and in the type in which it is to run.
        vocoder: on the same device, float32.
        voices: where this checkpoint's voices lie; None for none.
        steps: see `FlowMatching.forward`; 4 to 6 are faster and a little rougher.
        guidance: see `FlowMatching.forward`.
    """

    def __init__(
        self,
        flow: Flow,
        vocoder: Vocoder,
        *,
        voices: Path | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
    ) -> None:
        self.flow = flow
        self.vocoder = vocoder
        self._voices = voices
        self._solving = Solving(steps, guidance)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Token2Wav:
        """Load a token2wav directory.

        Args:
            directory: holds config.json, flow.safetensors, vocoder.safetensors and voices/.
            steps: see the class.
            guidance: see the class.
            device: where both networks run.
            dtype: of the flow. The vocoder stays in float32: its phases need that.

        Raises:
            CheckpointError: a file is missing, damaged or of other sizes than config.json says.
        """
        config = Token2WavConfig.read(directory / CONFIG_FILE)
        flow = build_flow(config.flow, read_tensors(directory / FLOW_FILE))
        vocoder = build_vocoder(config.vocoder, read_tensors(directory / VOCODER_FILE))
        return cls(
            flow.to(device=device, dtype=dtype),
            vocoder.to(device=device),
            voices=directory / VOICES,
            steps=steps,
            guidance=guidance,
        )

    def voice_names(self) -> list[str]:
        """The voices that came with the checkpoint, sorted."""
        return voice_names(self._voices) if self._voices else []

    def voice(self, name: str) -> VoicePrompt:
        """One of them.

        Raises:
            ConfigError: not a voice's name.
            CheckpointError: it is not there, damaged, or for another flow.
        """
        voice = VoicePrompt.read(self._voices or Path(VOICES), name)
        voice.check(self.flow.config)
        return voice

    def wave(self, codes: Iterable[int], voice: VoicePrompt, *, seed: int) -> FloatWaveform:
        """Speak a whole answer at once.

        Args:
            codes: 0 ... 4095.
            voice: who speaks.
            seed: the same codes and seed make the same samples.

        Returns:
            22,050 Hz in [-0.99, 0.99], mel_frames(codes) * HOP samples.

        Raises:
            GenerationError: a code that is not one.
            CheckpointError: the voice is for another flow.
        """
        stream = self.stream(voice, seed=seed, plan=None)
        stream.push(codes)
        return stream.finish()

    @torch.inference_mode()
    def stream(
        self, voice: VoicePrompt, *, seed: int, plan: ChunkPlan | None = DEFAULT_PLAN
    ) -> Token2WavStream:
        """Begin an answer whose codes come bit by bit.

        Args:
            voice: who speaks; its part of the work is done here, once for all chunks.
            seed: see `wave`.
            plan: when to speak; None waits for the end and gives the samples of `wave`.

        Raises:
            CheckpointError: the voice is for another flow.
        """
        voice.check(self.flow.config)
        prompt = self.flow.prompt(voice.tokens, voice.mel, voice.xvector)
        return Token2WavStream(
            self.flow, self.vocoder, prompt, seed=seed, plan=plan, solving=self._solving
        )
