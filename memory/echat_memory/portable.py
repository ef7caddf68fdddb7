"""What is kept of a person, given out as a document and taken in again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sqlalchemy import Connection

from echat_memory import audit, consents
from echat_memory.carrying import carry
from echat_memory.erasable import ErasableStore
from echat_memory.forgetting import forget_refused
from echat_memory.pseudonym import pseudonym
from echat_sdk.consent import REMEMBERED, Consents, Purpose
from echat_sdk.errors import ConsentError, DocumentError


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        user: The host's own id of whose memory it is now.
        counts: The rows written to each table.
        left_out: What was not taken over: thoughts and facts that no program of ours has written,
            and rows, by table, of what the person has not agreed to here.
    """

    user: str
    counts: Mapping[str, int]
    left_out: Mapping[str, int]


class PortableStore(ErasableStore):
    """A store whose users may have what is kept of them, and bring it along."""

    def export(self, user: str, *, channel: str = "host") -> Iterator[str]:
        """All that is kept of a user, as the pieces of one JSON document; see `document.py`.

        It is one moment's state, read on a connection of its own while it is taken, so that no call
        waits for it; erasing waits for its end. What is held in RAM of a guest is not kept, and so
        not in it.

        Args:
            user: The host's own id of the user, which is in the document as well.
            channel: How it was asked for, such as `cli`.

        Raises:
            StoreError: the store cannot be read.
            UnknownUserError: nothing is kept of them.
        """
        from echat_memory import exporting  # here, for its models take time at every start

        who, now = pseudonym(self._key, user), self._clock()
        return self._pieces(
            lambda connection: exporting.export(connection, who, user, now), who, channel, "export"
        )

    def emotionml(self, user: str, *, channel: str = "host") -> Iterator[str]:
        """How a user sounded, as the pieces of one EmotionML 1.0 document without a word of theirs.

        Args:
            user: The host's own id of the user.
            channel: How it was asked for, such as `cli`.

        Raises:
            StoreError: the store cannot be read.
            UnknownUserError: nothing is kept of them.
        """
        from echat_memory import emotionml

        who = pseudonym(self._key, user)
        return self._pieces(
            lambda connection: emotionml.export(connection, who), who, channel, "export emotions"
        )

    def import_document(
        self,
        path: Path,
        *,
        user: str | None = None,
        rename: bool = False,
        replace: bool = False,
        agreed: bool = False,
        version: str = "",
        channel: str = "host",
    ) -> Imported:
        """Take in what `export` wrote, here or elsewhere: all of it, or nothing.

        What the person has not agreed to here is left out (`carrying.py` says what counts as that),
        and so are facts and thoughts that no program of ours can have written. What has had its
        time here goes at the next sweep. On SQLite nobody else can write meanwhile.

        Args:
            path: The document.
            user: The host's own id of the user whose memory it becomes; by default the one that the
                document names.
            rename: Let the document name another.
            replace: Erase first what is kept of them here, but for their answers. Without, there
                must be nothing.
            agreed: They agree that it is kept here as they had agreed there. Ask them.
            version: Of the text that they were shown then.
            channel: How it was asked for, such as `cli`.

        Raises:
            ConsentError: they have not agreed to be remembered here; nothing was written.
            DocumentError: the file is no such document, another user's, or too large, or something
                is kept of them here; nothing was written.
            StoreError: nothing was written; or it was, but something keeps what was replaced from
                being removed to the last byte; says which.
        """
        from echat_memory import importing, reading

        now = self._clock()
        with reading.opened(path) as file:
            checked = importing.check(file, now)
            mine = checked.person.id if user is None else user
            if mine != checked.person.id and not rename:
                raise DocumentError(
                    f"{path} is the memory of another user than --user names; nothing was written. "
                    "If both are the same person, --rename says so."
                )
            who = pseudonym(self._key, mine)
            with self._beside(write=True) as connection:
                here = Consents(consents.read(connection, who), self._unasked, self._barred)
                answers, after = carry(
                    checked.consents, here, agreed=agreed, version=version, now=now
                )
                allowed = after.allowed(now)
                if not _remembers(allowed):
                    raise ConsentError(
                        "this user has not agreed to be remembered here, so nothing was written; "
                        "ask them, then import with --agreed"
                    )
                user_id = importing.take_place(
                    connection, who, checked.person, replacing=replace, now=now
                )
                counts, left_out = importing.write(connection, user_id, file, checked, answers)
                refused = REMEMBERED - allowed
                gone = forget_refused(connection, user_id, refused) if refused else {}
                told = {"who": who, "actor": channel, "action": "import"}
                detail = {"rows": dict(counts), "replaced": replace, "agreed": agreed}
                audit.append(connection, **told, detail=detail, at=now)
        self._drop_held(who)
        if replace or gone:
            self._forget_deleted(changed=True)
        return Imported(mine, dict(counts), {**left_out, **gone})

    def _pieces(
        self,
        export: Callable[[Connection], Iterator[str]],
        who: str,
        channel: str,
        action: str,
    ) -> Iterator[str]:
        def pieces() -> Iterator[str]:
            with self._beside(write=False) as connection:
                yield from export(connection)

        found = pieces()
        first = next(found)  # an unknown user is told at once
        told = {"who": who, "actor": channel, "action": action}
        self._write(lambda c: audit.append(c, **told, detail={}, at=self._clock()))
        return chain([first], found)


def _remembers(allowed: frozenset[str]) -> bool:
    """Whether anything at all may be kept; as `echat_sdk.consent.permitted` has it."""
    kept = {Purpose.STORE_TRANSCRIPT, Purpose.STORE_EMOTION} & allowed
    return Purpose.LONG_TERM_MEMORY in allowed and bool(kept)
