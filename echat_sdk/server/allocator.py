"""What the C library holds back of memory that was freed, given to the system."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Give it back; takes a few milliseconds. Nothing happens where the library cannot.

    A message of many megabytes leaves the process as large as it was at its largest, else.
    """
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim  # of glibc alone
    except (AttributeError, OSError, TypeError):
        return None
