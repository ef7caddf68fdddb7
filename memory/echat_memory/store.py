"""The store: one SQL database that holds what all users said, and gives each user's part back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo

from sqlalchemy import Connection

from echat_memory import (
    asked,
    audit,
    consents,
    felt,
    mood_report,
    pauses,
    plans,
    recall,
    remembering,
)
from echat_memory import trace as tracing
from echat_memory.forgetting import forget_refused
from echat_memory.mood_report import MoodReport
from echat_memory.ready import Written
from echat_memory.recalling import PLANS, RecallingStore
from echat_memory.rows import StoredTurn
from echat_memory.trace import Trace
from echat_sdk.consent import (
    REFUSALS,
    Consents,
    ConsentState,
    Purpose,
    answered,
    in_session,
    permitted,
    recallable,
)
from echat_sdk.cues import Emotion
from echat_sdk.errors import ConsentError, StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Known, Lang, Recollection, Turn

_PAUSES = frozenset({Purpose.PROCESS_VOICE, Purpose.LONG_TERM_MEMORY})
"""What it takes to keep how somebody pauses."""

_FELT = frozenset({Purpose.INFER_EMOTION, Purpose.STORE_EMOTION, Purpose.LONG_TERM_MEMORY})
"""What it takes to keep somebody's own word on how they felt; as `forgetting` has it."""


class SQLMemory(RecallingStore):
    """`echat_sdk.protocols.Memory` in SQL: one SQLite file, or a database of a PostgreSQL server.

    Everything is synchronous. Calls from several threads wait for each other; several processes
    may share one store. A turn that `remember` has returned survives a power cut.

    Of each user it keeps what they agreed to, and no more; see `consent`. What they did not agree
    to have kept is held in RAM as long as their session lasts, so that one can talk to a guest.
    `show`, `facts`, `mood` and `trace` are a person's own view of all that is there and ask no
    consent; who acts for others uses `recall` and `known`.

    Args:
        url: The file, as `sqlite:////srv/echat.db` or a path; or `postgresql://USER@HOST/DATABASE`.
            What is missing in it is made, and an older schema is migrated, after a copy.
        turns: How many of the last turns `recall` gives.
        budget: Estimated tokens that all that `recall` gives may take; see `budget.py`.
        unasked: Purposes that count as granted as long as nobody asked; for hosts that have seen
            to consent elsewhere. By default none: who was never asked is a guest.
        barred: Purposes that nobody can agree to here; see `echat_sdk.consent.barred_in`.
        retention: How long things stay: opening the store sweeps it, a second at most and once a
            day, beginning a day after it was first opened with users in it. None sweeps only when
            told to.
        clock: Gives the present moment, with its zone.
        busy_timeout: How long a call waits for other processes, or for a server. Another right
            after it, if that was in vain, waits a fifth of a second.
        key_file: The key to the user ids, by default `FILE.key` beside a SQLite file, and
            `DATABASE.key` in the home folder for PostgreSQL. It is made with the store. Back both
            up; every machine that opens one database needs the same.
        encryption: How what was said is encrypted, and with which key. A plain store is converted
            when it is first opened with it, and cannot be opened without it from then on.
        on_erase: Who else has copies, and erases them when something is erased here; see `Keeper`.

    Attributes:
        converted: How many rows were plain when it was opened, and are encrypted now.

    Raises:
        ConfigError: the URL names no such store, the retention no kind of fact, or a package is
            not installed.
        MigrationError: the schema is newer than this program.
        StoreError: the store cannot be opened, or is not one.
    """

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        """Make what the user agreed to of a turn, and of the facts told in it, durable.

        See `Memory.remember`. Characters that no database can hold (NUL, lone surrogates) become
        U+FFFD.

        Returns:
            The turn's id. That of a turn of which nothing may be kept is good for this session.

        Raises:
            StoreError: the store cannot be written, or the user has no turn `turn_id`; nothing
                was kept.
        """
        who, now = self.pseudonym(user), self._clock()
        known = self._said(who)  # guests wait for no lock of the database
        with self._holding:
            query, remembered = self._recalled.get(who, ("", None))
        is_guests = turn_id is not None and self._guests.is_guests(turn_id)
        if not is_guests and permitted(turn, known.allowed(now)) is not None:

            def write(connection: Connection) -> tuple[Consents, int | None]:
                known = self._consents(connection, who, lock=True)  # withdrawn just now, perhaps
                allowed = known.allowed(now)
                row_id = remembering.remember(
                    connection, who, turn, turn_id=turn_id, now=now, allowed=allowed
                )
                if row_id is not None and allowed >= PLANS:
                    given = remembered if query == turn.transcript else None
                    plans.write(connection, row_id, turn, given)
                if row_id is not None and turn_id is not None:
                    with self._holding:
                        self._episodes.change(who, row_id)
                return known, row_id

            known, row_id = self._write(write, what=Written(who))
            allowed = known.allowed(now)
            if row_id is not None:
                if Purpose.STORE_TRANSCRIPT not in allowed:
                    self._guests.hold(user, str(row_id), in_session(turn, allowed))
                return str(row_id)
        held = in_session(turn, known.allowed(now))
        if not is_guests and known.refused(now):
            turn_id = None  # its row went when consent did
        return self._guests.add(user, held, turn_id)

    def pauses(self, user: str) -> PauseProfile:
        """How a user pauses within a turn; see `Memory.pauses`.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = self.pseudonym(user), self._clock()
        with self._open(write=False) as connection:
            if self._consents(connection, who).allowed(now) >= _PAUSES:
                return pauses.read(connection, who)
        return self._guests.pauses(user)

    def keep_pauses(self, user: str, profile: PauseProfile) -> None:
        """Make it durable how a user pauses, if the store knows the user; see `Memory.keep_pauses`.

        Raises:
            StoreError: the store cannot be written; what was kept before stays.
        """
        who, now = self.pseudonym(user), self._clock()

        def write(connection: Connection) -> bool:
            if not self._consents(connection, who, lock=True).allowed(now) >= _PAUSES:
                return False
            pauses.write(connection, who, profile)
            return True

        if not (self.allowed(user) >= _PAUSES and self._write(write, what=Written())):
            self._guests.keep_pauses(user, profile)

    def consents(self, user: str) -> Consents:
        """All that this user said, and what counts where they said nothing.

        Raises:
            StoreError: the store cannot be read.
        """
        return self._said(self.pseudonym(user))

    def allowed(self, user: str) -> frozenset[str]:
        """The purposes that this user may be used for now.

        Raises:
            StoreError: the store cannot be read.
        """
        return self.consents(user).allowed(self._clock())

    def consent(
        self,
        user: str,
        purposes: str | Collection[str],
        state: ConsentState = ConsentState.GRANTED,
        *,
        version: str = "",
        channel: str = "host",
        expires_at: datetime | None = None,
    ) -> dict[str, int]:
        """Keep what a user answered. It counts from the next call on, in every process.

        A refusal also deletes what was kept for that purpose, in the same transaction, down to the
        bytes. The answer itself stays, as the proof of it; the same answer again adds nothing.

        Args:
            user: The host's own id of the user.
            purposes: What they were asked about: one purpose, or several that they answered alike.
            state: What they said.
            version: Of the text that they were shown or told.
            channel: How they were asked, such as `cli` or `voice`.
            expires_at: When a grant ends by itself; None for never.

        Returns:
            The rows deleted from each table, or emptied of words.

        Raises:
            ConsentError: a purpose is none, or cannot become that; nothing was kept.
            StoreError: nothing was kept; or the rows are deleted but something keeps what they
                leave behind from being removed; says which.
        """
        who, now = self.pseudonym(user), self._clock()

        def write(connection: Connection) -> dict[str, int]:
            known = self._consents(connection, who, lock=True)
            answers = answered(
                known,
                purposes,
                state,
                version=version,
                channel=channel,
                now=now,
                expires_at=expires_at,
            )
            news = {p: said for p, said in answers.items() if not said.repeats(known.of(p))}
            user_id = consents.write(connection, who, news, now=now)
            counts: dict[str, int] = {}
            if state in REFUSALS:
                refused = Consents({**known.given, **answers}).refused(now)
                counts = dict(forget_refused(connection, user_id, refused))
            if news:
                told = {"who": who, "actor": channel, "action": f"consent {state.value}"}
                detail = {"purposes": sorted(news), "version": version, "deleted": counts}
                audit.append(connection, **told, detail=detail, at=now)
            return counts

        counts = self._write(write, what=Written(who, only_turns=False))
        self._drop_held(who)
        if state in REFUSALS:
            if Purpose.PROCESS_VOICE in ([purposes] if isinstance(purposes, str) else purposes):
                self._guests.forget(user)
            self._forget_deleted(changed=True)
        return counts

    def mood(self, user: str, *, since: date | None = None, zone: tzinfo = UTC) -> MoodReport:
        """How a user has sounded: days, sittings, home base, deviation, trend.

        Made from their turns each time, and not kept: an erased turn leaves no trace in it.

        Args:
            user: The host's own id of the user.
            since: The first day that is listed; all days, and the sittings of eight weeks, where it
                is None.
            zone: Where the user's days begin at midnight.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = self.pseudonym(user), self._clock()
        today = now.astimezone(zone).date()
        with self._open(write=False) as connection:
            turns = felt.read(connection, who, since=since, today=today)
        return mood_report.report(turns, now=now, zone=zone, since=since)

    def report(self, user: str, turn_id: str, emotion: Emotion) -> None:
        """Keep what a user says that they felt in a turn; it outranks what the model heard.

        Both are kept. Of two reports on one turn the later counts.

        Args:
            user: The host's own id of the user.
            turn_id: What `remember` returned.
            emotion: Their word.

        Raises:
            ConsentError: the user did not agree that how they sounded is kept.
            StoreError: the store cannot be written, or the user has no turn `turn_id`.
        """
        who, now = self.pseudonym(user), self._clock()

        def write(connection: Connection) -> None:
            if not self._consents(connection, who, lock=True).allowed(now) >= _FELT:
                raise ConsentError("nothing was kept: this user did not agree to store_emotion")
            felt.write(connection, who, turn_id, emotion)
            told = {"who": who, "actor": "user", "action": "own word"}
            audit.append(connection, **told, detail={"turn": turn_id}, at=now)

        self._write(write, what=Written(who, only_turns=False))

    def show(self, user: str, limit: int = 20) -> list[StoredTurn]:
        """The last turns of a user, oldest first; none for a user never met.

        Raises:
            StoreError: the store cannot be read.
        """
        who = self.pseudonym(user)
        with self._open(write=False) as connection:
            return [
                StoredTurn(
                    id=str(row.id),
                    session=str(row.session_id),
                    at=row.created_at,
                    turn=turn,
                    felt=row.word and Emotion(row.word),
                )
                for row, turn in recall.last_turns(connection, who, limit)
            ]

    def trace(self, user: str, turn_id: str | None = None) -> Trace:
        """Why a turn was answered as it was: heard, felt, remembered, chosen.

        Args:
            user: The host's own id of the user.
            turn_id: What `remember` returned; None for the last turn.

        Raises:
            StoreError: the user has no such turn, or the store cannot be read.
        """
        who = self.pseudonym(user)
        row_id = None if turn_id is None else remembering.row_of(turn_id)
        with self._open(write=False) as connection:
            found = tracing.trace(connection, who, row_id)
        if found is None:
            raise StoreError("this user has no such turn; `show` tells the ids of their turns")
        return found

    def facts(self, user: str) -> tuple[str, ...]:
        """All that holds of what a user told, newest first, in the language of their last turn.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = self.pseudonym(user), self._clock()
        with self._open(write=False) as connection:
            return recall.facts(connection, who, now)

    def known(self, user: str, *, lang: Lang = "en") -> Known:
        """What is kept of a user and may be told of them; see `Forgetting.known`.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = self.pseudonym(user), self._clock()
        with self._open(write=False) as connection:
            allowed = self._consents(connection, who).allowed(now)
            found = asked.known(connection, who, now, lang)
        told = recallable(Recollection(facts=found.facts, mood=found.mood), allowed)
        held = len(self._guests.turns(user))
        return replace(found, facts=told.facts, mood=told.mood, held=held)

    def last_turn(self, user: str) -> str | None:
        """The id of what a user said last in this sitting, kept or held; None for nothing.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = self.pseudonym(user), self._clock()
        with self._open(write=False) as connection:
            kept = asked.last_turn(connection, who, now)
        return max(filter(None, (kept, self._guests.last(user))), default=(now, None))[1]
