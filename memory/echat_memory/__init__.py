"""What is kept of a user, in SQL: their turns, how they sounded, the facts that they told.

`SQLMemory` implements `echat_sdk.protocols.Memory`; so does `GuestMemory`, which writes nothing.
Importing this package imports SQLAlchemy.
"""

from __future__ import annotations

from echat_memory.guests import GuestMemory
from echat_memory.keepers import Erased, Keeper, Manifest, Recordings
from echat_memory.keys import Encryption
from echat_memory.mood_report import MoodReport
from echat_memory.portable import Imported
from echat_memory.receipts import Receipt
from echat_memory.rows import StoredTurn
from echat_memory.scope import Scope
from echat_memory.store import SQLMemory
from echat_memory.trace import Trace, in_words

__all__ = [
    "Encryption",
    "Erased",
    "GuestMemory",
    "Imported",
    "Keeper",
    "Manifest",
    "MoodReport",
    "Receipt",
    "Recordings",
    "SQLMemory",
    "Scope",
    "StoredTurn",
    "Trace",
    "in_words",
]
