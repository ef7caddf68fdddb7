"""State dictionaries: weight norms folded, keys audited, nothing left random.

Ours have the released names; only the weight norms of hift.pt, in either of torch's spellings,
become plain weights, and the prefix that its adversarial training leaves is taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from echat_sdk.errors import CheckpointError
from echat_sdk.model.echat.token2wav.config import FlowConfig, Token2WavConfig, VocoderConfig
from echat_sdk.model.echat.token2wav.flow import Flow
from echat_sdk.model.echat.token2wav.vocoder import Vocoder

State = Mapping[str, Tensor]

_SPELLINGS = (
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    (".weight_g", ".weight_v"),
)
_NAMED = 8


def fold_weight_norms(state: State) -> dict[str, Tensor]:
    """Weights instead of lengths and directions; `generator.` is taken out of every name.

    The length is over all but the first axis, which for transposed convolutions is the input's.

    Raises:
        CheckpointError: a length without its direction, or the other way round.
    """
    plain = {name.replace("generator.", ""): tensor for name, tensor in state.items()}
    for length_suffix, direction_suffix in _SPELLINGS:
        lengths = {n.removesuffix(length_suffix) for n in plain if n.endswith(length_suffix)}
        directions = {
            n.removesuffix(direction_suffix) for n in plain if n.endswith(direction_suffix)
        }
        if lengths != directions:
            alone = ", ".join(sorted(lengths ^ directions)[:_NAMED])
            raise CheckpointError(f"weight norms with only one of their two halves: {alone}")
        for name in lengths:
            length = plain.pop(name + length_suffix).float()
            direction = plain.pop(name + direction_suffix).float()
            norm = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)
            plain[f"{name}.weight"] = direction * (length / norm)
    return plain


def audit(network: nn.Module, state: State, what: str) -> None:
    """Refuse a dictionary that does not have exactly the network's names and shapes.

    Raises:
        CheckpointError: names what is missing, unexpected, of another shape or not finite.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    missing = sorted(wanted.keys() - state.keys())
    unexpected = sorted(state.keys() - wanted.keys())
    mismatched = [
        f"{name} {tuple(state[name].shape)} for {shape}"
        for name, shape in sorted(wanted.items())
        if name in state and tuple(state[name].shape) != shape
    ]
    damaged = [n for n in sorted(wanted.keys() & state.keys()) if not state[n].isfinite().all()]
    faults = [
        f"{len(names)} {kind}: {', '.join(names[:_NAMED])}{' ...' if len(names) > _NAMED else ''}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", mismatched),
            ("not finite", damaged),
        )
        if names
    ]
    if faults:
        raise CheckpointError(f"{what} does not fit the network: {'; '.join(faults)}")


def convert_cosyvoice(
    flow: State, vocoder: State, config: Token2WavConfig | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The released flow.pt and hift.pt as dictionaries of ours.

    Args:
        flow: flow.pt, as it is.
        vocoder: hift.pt, with weight norms in either spelling.
        config: sizes; the released ones when left out.

    Returns:
        float32 tensors for flow.safetensors and vocoder.safetensors.

    Raises:
        CheckpointError: a name or shape that the networks do not have, or one that they lack.
    """
    config = config or Token2WavConfig()
    with torch.device("meta"):
        networks = Flow(config.flow), Vocoder(config.vocoder)
    folded = fold_weight_norms(vocoder)
    audit(networks[0], flow, "the flow (flow.pt)")
    audit(networks[1], folded, "the vocoder (hift.pt)")
    return (
        {name: tensor.float().contiguous() for name, tensor in flow.items()},
        {name: tensor.float().contiguous() for name, tensor in folded.items()},
    )


def build_flow(config: FlowConfig, state: State, *, parity: bool = False) -> Flow:
    """A flow with these weights, in evaluation mode; raises CheckpointError as `audit` does."""
    with torch.device("meta"):
        network = Flow(config, parity=parity)
    audit(network, state, "the flow")
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def build_vocoder(config: VocoderConfig, state: State) -> Vocoder:
    """A vocoder with these weights, folded or not; raises CheckpointError as `audit` does."""
    with torch.device("meta"):
        network = Vocoder(config)
    folded = fold_weight_norms(state)
    audit(network, folded, "the vocoder")
    network.load_state_dict(folded, assign=True)
    network.window = torch.hann_window(network.window.shape[0])
    return network.eval().requires_grad_(False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
