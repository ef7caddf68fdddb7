"""What can be chosen of the end-to-end network, beside what every model takes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["auto", "float32", "bfloat16", "int8"]
HearingMode = Literal["exact", "chunked"]


class NetworkOptions(BaseModel):
    """How a checkpoint of the end-to-end network is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = Field(
        default="auto",
        description="auto is bfloat16 on a GPU; on a processor int8 for the language model and "
        "float32 for the rest",
    )
    hearing: HearingMode = Field(
        default="exact",
        description="chunked encodes speech while it comes: sooner, and approximate",
    )
    flow_steps: int = Field(
        default=0, ge=0, le=100, description="steps that make the sound; 0 is the checkpoint's own"
    )
    vllm_url: str = Field(
        default="", description="decode at this vLLM server; its key is read from VLLM_API_KEY"
    )
    vllm_model: str = Field(default="", description="what that server calls the model")
    vllm_allow_plain: bool = Field(
        default=False, description="let speech travel to another machine over plain http"
    )
