"""Eight-bit weights for processors: reading a token's weights is most of what decoding it costs.

A byte a weight is a quarter of the reading. Each row of inputs is quantised as it comes, with a
scale of its own, so the product runs on the processor's byte instructions too.

On a GPU there is no such layer: the byte product that torch has there wants more than 16 rows, and
a decoded answer has one. What asks for eight bits there gets bfloat16: see `runs_on`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from echat_sdk.errors import UnsupportedError

_MOST = 127


class Int8Linear(nn.Module):
    """A linear layer with a scale for each output; inputs and outputs are float.

    Args:
        linear: The layer to replace; it is not changed.
    """

    weight: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=1e-8) / _MOST
        self.register_buffer("weight", (weight / scales[:, None]).round().to(torch.int8))
        self.register_buffer("scales", scales)
        self.register_buffer(
            "bias", linear.bias.detach().float() if linear.bias is not None else None
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's outputs. Shape [..., inputs] to [..., outputs]."""
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        scales = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / _MOST
        quantised = (rows / scales).round().to(torch.int8)
        products = torch._int_mm(quantised, self.weight.t())
        outputs = products * (scales * self.scales)
        if self.bias is not None:
            outputs += self.bias
        return outputs.reshape(*inputs.shape[:-1], -1).to(inputs.dtype)


def runs_on(device: torch.device) -> bool:
    """Whether eight-bit layers run there; where not, the model is to be loaded in bfloat16."""
    return device.type == "cpu"


def quantize(module: nn.Module) -> int:
    """Replace every linear layer below a module; returns how many.

    A head that is tied to the embedding is untied by it: the table stays as it is.

    Raises:
        UnsupportedError: the weights are on a GPU. None is replaced then.
    """
    devices = {weight.device for weight in module.parameters()}
    if bad := [device for device in devices if not runs_on(device)]:
        raise UnsupportedError(
            f"eight-bit weights on {bad[0]}: they run on processors only; load the model in "
            "bfloat16 there"
        )
    return _replace(module)


def _replace(module: nn.Module) -> int:
    count = 0
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, Int8Linear(child))
            count += 1
        else:
            count += _replace(child)
    return count
