"""Whether anybody has committed to a SQLite file, asked on a connection that does nothing else.

The store's own connection cannot be asked while it writes: it is busy until its commit is on the
disk. This one waits for nobody, and so may be asked at every call.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from echat_memory import sqlcipher

Stamp = tuple[int, int]


class Watch:
    """Asks a file for its version. From any thread; opened when it is first asked.

    Args:
        path: The file. None is made where it is missing.
        key: Of a file that is encrypted as a whole.
    """

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        # Not to be made anew: it would be an empty one, in the place of the store.
        self._file = f"{path.absolute().as_uri()}?mode=rw"
        self._key = key
        self._lock = threading.Lock()
        self._is_closed = False
        self._cursor: Any = None
        self._opened = 0

    def stamp(self) -> Stamp | None:
        """What is another one after any commit, whoever's; None where it cannot be told now."""
        with self._lock:
            if self._is_closed:
                return None
            try:
                if self._cursor is None:
                    self._open()
                ((version,),) = self._cursor.execute("PRAGMA data_version").fetchall()
            except self._driver.Error:
                self._release()  # why is told by whoever reads or writes then
                return None
            # Each connection counts for itself.
            return self._opened, version

    def use(self, key: bytes | None) -> None:
        """Open the file anew with another key, after `close`."""
        with self._lock:
            self._key = key
            self._is_closed = False

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        with self._lock:
            self._is_closed = True
            self._release()

    @property
    def _driver(self) -> ModuleType:
        return sqlite3 if self._key is None else sqlcipher.driver()

    def _open(self) -> None:
        connection = self._driver.connect(
            self._file, uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        self._cursor = connection.cursor()
        self._opened += 1
        if self._key is not None:
            sqlcipher.unlock(self._cursor, self._key)

    def _release(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            with suppress(self._driver.Error):
                cursor.connection.close()
