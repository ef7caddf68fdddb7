"""What is wrong with what a device sent."""

from __future__ import annotations


class Fault(Exception):
    """A message that cannot be read; it is let pass, unless too many are."""
