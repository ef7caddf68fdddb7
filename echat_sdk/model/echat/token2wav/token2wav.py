"""The two networks together, loaded from a directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from echat_sdk.audio import FloatWaveform
from echat_sdk.model.echat.token2wav.batch import FlowBatch
from echat_sdk.model.echat.token2wav.checkpoint import build_flow, build_vocoder, read_tensors
from echat_sdk.model.echat.token2wav.config import Token2WavConfig
from echat_sdk.model.echat.token2wav.flow import GUIDANCE, STEPS, Flow
from echat_sdk.model.echat.token2wav.plan import DEFAULT_PLAN, ChunkPlan, Solving
from echat_sdk.model.echat.token2wav.stream import Token2WavStream
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
        together: how many streams' windows are solved in one call; None for 8 on a GPU, and 1 on a
            processor, which has no idle units to fill: together all would wait for the last.
    """

    def __init__(
        self,
        flow: Flow,
        vocoder: Vocoder,
        *,
        voices: Path | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        together: int | None = None,
    ) -> None:
        self.flow = flow
        self.vocoder = vocoder
        self._voices = voices
        self._solving = Solving(steps, guidance)
        if together is None:
            together = 8 if vocoder.window.device.type == "cuda" else 1
        self._batch = (
            FlowBatch(flow.decoder, steps=steps, guidance=guidance, most=together)
            if together > 1
            else None
        )

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Token2Wav:
        """Load a token2wav directory.

        Args:
            directory: holds config.json, flow.safetensors, vocoder.safetensors and voices/.
            steps: see the class; None takes what config.json says, the released default 10.
            guidance: likewise; the released default 0.7.
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
            steps=config.steps if steps is None else steps,
            guidance=config.guidance if guidance is None else guidance,
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
            self.flow,
            self.vocoder,
            prompt,
            seed=seed,
            plan=plan,
            solving=self._solving,
            solve=self._batch,
        )
