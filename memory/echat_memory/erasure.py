"""An erasure from its receipt to its last copy; gone on with wherever it was cut short."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row

from echat_memory import audit, erasing, receipts
from echat_memory.keepers import DEADLINE, Erased, Keeper, ask
from echat_memory.receipts import ASKED, BYTES, DONE, ROWS, Receipt
from echat_memory.scope import Scope
from echat_memory.taking_back import Heard
from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError, StoreError

log = logging.getLogger(__name__)

_DELETED = "the rows are deleted"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Erasures:
    """Erases, and ends what was cut short. Every step may be repeated.

    Attributes:
        opened: Opens a transaction that reads.
        write: Does something in a transaction that writes, of the rows of the user with this
            pseudonym and nobody else's; an empty one for receipts and records alone.
        forget_deleted: Removes what deleted rows leave behind.
        drop_held: Drops what is held in RAM of the user with this pseudonym.
        pseudonym: Whose rows are those of a host's id.
        keepers: Who else holds copies.
        clock: Gives the present moment.
    """

    opened: Callable[[], AbstractContextManager[Connection]]
    write: Callable[[Callable[[Connection], Any], str], Any]
    forget_deleted: Callable[[], None]
    drop_held: Callable[[str], None]
    pseudonym: Callable[[str], str]
    keepers: Collection[Keeper]
    clock: Callable[[], datetime]

    def __post_init__(self) -> None:
        names = [keeper.name for keeper in self.keepers]
        if len(set(names)) < len(names):  # who has erased is known by name
            raise ConfigError("on_erase: two have the same name; give each its own")

    def erase(self, who: str, scope: Scope, *, actor: str) -> Receipt:
        """Erase what a scope names; what of this user was cut short is ended first.

        The same asked for again while it is open is the same erasure, and all that has come since
        goes with it.

        Raises:
            StoreError: it is not ended, and stays open; says why.
        """
        with self.opened() as connection:
            still = [row for row in receipts.open_ones(connection) if row.who == who]
        same = next((row.id for row in still if row.scope == scope.to_json()), None)
        number = self._begin(who, scope, actor, same)
        receipt = self.go_on(number)
        self._go_on_with([row.id for row in still if row.id != number], DEADLINE)
        return receipt

    def resume(self, *, within: Seconds = DEADLINE) -> None:
        """End what was cut short; what cannot be ended now is tried again the next time.

        Args:
            within: How long each keeper is waited for.
        """
        with self.opened() as connection:
            still = [row.id for row in receipts.open_ones(connection) if self._can_go_on(row)]
        self._go_on_with(still, within)

    def _go_on_with(self, numbers: Iterable[int], within: Seconds) -> None:
        for number in numbers:
            try:
                self.go_on(number, within=within)
            except StoreError as error:
                log.warning("erasure %d could not be ended: %s", number, error)

    def go_on(self, number: int, *, within: Seconds = DEADLINE) -> Receipt:
        """Do what is left of an erasure, all of it if it was only asked for.

        Raises:
            StoreError: it is not ended; says why.
        """
        who, heard = self._read_ahead(number)
        row = self.write(lambda connection: self._delete(connection, number, heard), who)
        self.drop_held(row.who)
        try:
            if row.stage == ROWS:
                self.forget_deleted()
                self.write(lambda connection: _came_to(connection, number, BYTES, after=ROWS), "")
            if row.stage != DONE:
                self._ask_keepers(number, within)
            with self.opened() as connection:
                return receipts.receipt_of(receipts.one(connection, number))
        except StoreError as error:
            if str(error).startswith(_DELETED):
                raise
            raise StoreError(
                f"{_DELETED}, but receipt {number} stays open: {error}. It is ended when the store "
                "is next opened, or when they are erased again."
            ) from error

    def _begin(self, who: str, scope: Scope, actor: str, same: int | None) -> int:
        """Write the receipt of what is asked for, or write that it is asked for again."""

        def begin(connection: Connection) -> int:
            now, through = self.clock(), erasing.newest_turn(connection)
            number, keepers = same, self._meant(scope)
            if number is None or not receipts.ask_again(
                connection, number, through=through, keepers=keepers
            ):
                number = receipts.begin(
                    connection, who, scope, through=through, keepers=keepers, at=now
                )
            detail = {"receipt": number, "scope": scope.to_json()}
            audit.append(
                connection, who=who, actor=actor, action="erase asked", detail=detail, at=now
            )
            return number

        number: int = self.write(begin, "")
        return number

    def _can_go_on(self, row: Row[Any]) -> bool:
        """Whether anything can be done here: some keeper may be another process's."""
        left = {*row.rest["keepers"], *row.rest.get("failed", {})} - {*row.rest.get("done", {})}
        return row.stage != BYTES or not left or any(each.name in left for each in self.keepers)

    def _meant(self, scope: Scope) -> list[str]:
        """The names of the keepers that a scope concerns: a plugin's is its own alone."""
        names = [keeper.name for keeper in self.keepers]
        return names if scope.plugin is None else [name for name in names if name == scope.plugin]

    def _read_ahead(self, number: int) -> tuple[str, Heard]:
        """Whose an erasure is, and what `erasing.read_ahead` finds."""
        with self.opened() as connection:
            row = receipts.one(connection, number)
        if row.stage != ASKED:
            return row.who, {}
        scope = Scope.from_json(row.scope)
        return row.who, erasing.read_ahead(self.opened, row.who, scope, row.rest["through"])

    def _delete(self, connection: Connection, number: int, heard: Heard) -> Row[Any]:
        """Delete the rows, if they are not; returns the receipt's row."""
        row = receipts.one(connection, number, lock=True)
        if row.stage != ASKED:
            return row
        scope, now = Scope.from_json(row.scope), self.clock()
        gone = erasing.erase(
            connection, row.who, scope, through=row.rest["through"], now=now, heard=heard
        )
        turns = None  # all of the user
        if gone.turns is not None:
            turns = sorted({*gone.turns, *(row.rest.get("turns") or ())})
        rest = {"turns": turns, "keepers": row.rest["keepers"]}
        counts = dict(Counter(row.counts) + Counter(gone.counts))
        receipts.change(connection, number, stage=ROWS, counts=counts, rest=rest)
        return receipts.one(connection, number)

    def _ask_keepers(self, number: int, within: Seconds) -> None:
        """Have everybody else erase their copy who has not, and complete the receipt if all did."""
        with self.opened() as connection:
            row = receipts.one(connection, number)
        scope, told = Scope.from_json(row.scope), row.rest
        done: dict[str, int] = dict(told.get("done", {}))
        # Who was there when it was asked for is waited for, though they are not here now.
        failed = dict.fromkeys(told["keepers"], "it is not here now") | told.get("failed", {})
        turns = told.get("turns")
        erased = Erased(
            who=row.who,
            scope=scope,
            turns=None if turns is None else frozenset(map(str, turns)),
            is_theirs=lambda user: self.pseudonym(user) == row.who,
        )
        for keeper in self.keepers:
            if keeper.name in done or keeper.name not in self._meant(scope):
                continue
            try:
                done[keeper.name] = ask(keeper, erased, within=within)
            except StoreError as error:
                failed[keeper.name] = str(error)
                log.warning("erasure %d is not ended: %s: %s", number, keeper.name, error)
        failed = {name: why for name, why in failed.items() if name not in done}

        def tell(connection: Connection) -> None:
            now = self.clock()
            if receipts.one(connection, number, lock=True).stage == DONE:
                return
            counts = dict(Counter(row.counts) + Counter(done))
            if failed:
                rest = told | {"done": done, "failed": failed}
                receipts.change(connection, number, rest=rest)
                return
            receipts.change(
                connection, number, stage=DONE, completed_at=now, counts=counts, rest={}
            )
            detail = {"receipt": number, "counts": counts}
            audit.append(
                connection, who=row.who, actor=audit.STORE, action="erased", detail=detail, at=now
            )

        self.write(tell, "")


def _came_to(connection: Connection, number: int, stage: str, *, after: str) -> None:
    if receipts.one(connection, number, lock=True).stage == after:
        receipts.change(connection, number, stage=stage)
