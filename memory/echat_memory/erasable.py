"""An open store whose rows can be erased, and that tells what was done with them."""

from __future__ import annotations

from datetime import datetime

from echat_memory import asked, audit, receipts
from echat_memory.audit import Record, Verified
from echat_memory.open_store import OpenStore
from echat_memory.receipts import Receipt, receipt_of
from echat_memory.scope import Scope
from echat_sdk.consent import Purpose


class ErasableStore(OpenStore):
    """What `SQLMemory` erases by; its arguments are told there."""

    def erase(
        self,
        user: str,
        *,
        turn: str | None = None,
        since: datetime | None = None,
        purpose: str | None = None,
        channel: str = "host",
    ) -> Receipt:
        """Delete all that is kept of a user, or a part of it, down to the bytes; may be repeated.

        What is left is what would be, had what went never been. Copies made before migrations are
        deleted too, since they hold the user. Backups that others made are out of reach, and so is
        a part of what a PostgreSQL server keeps: README.md says which.

        Cut short at any point, it is ended when the store is next opened or something is erased
        for this user.

        Args:
            user: The host's own id of the user.
            turn: The id of one turn.
            since: All that was said from this moment on; with its zone.
            purpose: What was kept for this purpose, as a refusal would; it is not written down as
                one.
            channel: How it was asked for, such as `cli` or `voice`.

        Returns:
            The receipt. It is still open if a copy could not be erased that somebody else has.

        Raises:
            ConfigError: more than one of turn, since and purpose, or a moment without a zone.
            ConsentError: there is no such purpose.
            StoreError: nothing was deleted, or the rows were but something keeps what they leave
                behind from being removed; says which.
        """
        scope = Scope(turn, since, purpose)
        if purpose in (None, Purpose.PROCESS_VOICE):
            self._guests.forget(user, turn=turn, since=since)
        return self._erasures.erase(self.pseudonym(user), scope, actor=channel)

    def forget(self, user: str, *, turn: str | None = None, since: datetime | None = None) -> int:
        """Forget one turn, all since a moment, or all of a user; see `Forgetting.forget`.

        As `erase` does it, with a receipt; but for who is a guest, of whom nothing is written, nor
        that they asked.

        Raises:
            StoreError: nothing was deleted, or the rows were but something keeps what they leave
                behind from being removed; says which.
        """
        held = self._guests.forget(user, turn=turn, since=since)
        only_held = sum(map(self._guests.is_guests, held))
        with self._open(write=False) as connection:
            is_kept = asked.is_known(connection, self.pseudonym(user))
        if not is_kept or (turn is not None and self._guests.is_guests(turn)):
            return only_held
        receipt = self.erase(user, turn=turn, since=since, channel="voice")
        return only_held + receipt.counts.get("turns", 0)

    def receipts(self, user: str | None = None) -> list[Receipt]:
        """What was asked to be erased, and what went, oldest first; of one user or of all.

        Raises:
            StoreError: the store cannot be read.
        """
        who = None if user is None else self.pseudonym(user)
        with self._open(write=False) as connection:
            return [receipt_of(row) for row in receipts.all_of(connection, who)]

    def audit(self, user: str | None = None, *, limit: int = 100) -> list[Record]:
        """The last records of what was done with somebody's data, oldest first.

        Raises:
            StoreError: the store cannot be read.
        """
        who = None if user is None else self.pseudonym(user)
        with self._open(write=False) as connection:
            return audit.records(connection, who, limit=limit)

    def verify(self, *, head: str | None = None) -> Verified:
        """Whether the audit log is as it was written; reads all of it.

        A record that was altered, inserted, moved, or removed before another is found. That the
        end was cut off is found only with a head that was kept elsewhere.

        Args:
            head: A digest that was the head once.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._open(write=False) as connection:
            return audit.verify(connection, head=head)
