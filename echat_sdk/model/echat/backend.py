"""The seam between the speech model and what decodes: our own engine, or a server elsewhere.

Nothing inherits from these. `engine.Engine` is one backend, whose past is keys and values;
`vllm.VllmEngine` is another, whose past is the embeddings that it sends again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Self, TypeVar

from echat_sdk.model.echat.decoding import Decoding, Token
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.parking import Place
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.sampling import Sampler


class Past(Protocol):
    """What was read and written so far. A value: shared by forks, never written to."""

    @property
    def place(self) -> Place | None:
        """Where its memory is counted with that of others; None if nowhere."""
        ...

    @property
    def length(self) -> int:
        """Positions held."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the positions held."""
        ...

    def crop(self, length: int) -> Self:
        """The first positions alone; it costs nothing and frees nothing.

        Raises:
            ValueError: more positions are asked for than there are.
        """
        ...

    def compact(self) -> Self:
        """The same in memory of its own, so that what was cropped off is freed."""
        ...


P = TypeVar("P", bound=Past)
P_co = TypeVar("P_co", bound=Past, covariant=True)


class TokenStream(Iterator[Token], Protocol[P_co]):
    """The tokens of one request, as they are drawn. Used from one thread at a time."""

    def close(self) -> None:
        """End the request now; what was written so far stands."""
        ...

    @property
    def decoding(self) -> Decoding:
        """Where the answer stands."""
        ...

    @property
    def parked(self) -> P_co:
        """What was read and written, the last token left out.

        Raises:
            ValueError: the request goes on, or was not started to keep it.
        """
        ...


class Backend(Protocol[P]):
    """Decodes requests of any number of threads beside each other."""

    @property
    def model(self) -> EChatForConditionalGeneration:
        """What hears and embeds; its language model may be without layers."""
        ...

    def start(
        self,
        prompt: Prompt,
        decoding: Decoding,
        sampler: Sampler,
        *,
        past: P | None = None,
        keeps: bool = False,
    ) -> TokenStream[P]:
        """Begin a request.

        Raises:
            GenerationError: it cannot be taken; reading the answer raises it where it fails later.
        """
        ...

    def read(self, prompt: Prompt, past: P | None = None) -> P:
        """Read ahead, with no answer.

        Raises:
            GenerationError: it cannot be read.
        """
        ...
