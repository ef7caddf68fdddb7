"""How long is waited for this speaker: as long as they have been heard to pause, now and before.

A pause teaches where the speaker alone was to be heard and went on in the same turn, and once the
words of that turn are kept: noise, an echo, speech over the agent's, a muted stretch and what was
typed teach nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import Event, Failed
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.cues import Cues
from echat_sdk.errors import StoreError
from echat_sdk.pause_profile import MOST, PauseProfile
from echat_sdk.protocols import Memory
from echat_sdk.turn_detector import TurnDetector
from echat_sdk.turn_policy import patience_for

log = logging.getLogger(__name__)


class Patience:
    """Learns how a user pauses, has the turn detector wait accordingly, and keeps it.

    Called from the event loop, which never waits for the memory here.

    Args:
        memory: Keeps.
        store: The memory's thread.
        user: Who is listened to.
        detector: Waits.
        emit: Takes events.
    """

    def __init__(
        self,
        memory: Memory,
        store: Worker,
        user: str,
        detector: TurnDetector,
        emit: Callable[[Event], None],
    ) -> None:
        self._memory = memory
        self._store = store
        self._user = user
        self._detector = detector
        self._emit = emit
        self._profile = PauseProfile()
        self._ear: Ear | None = None  # of the turn that teaches
        self._fresh: list[Seconds] = []  # its pauses, which count once it is kept
        self._ended_at: Seconds = 0.0
        # Touched by the memory's thread alone; beyond so many, older ones would have faded anyway.
        self._unkept: deque[Seconds] = deque(maxlen=MOST)

    async def load(self) -> None:
        """Wait for this user as before. Without a store that can be read: as for anybody."""
        try:
            self._profile = await self._store.call(self._memory.pauses, self._user)
        except StoreError as error:
            self._emit(Failed(error))
        except Exception as error:  # noqa: BLE001 - a memory's code is a stranger's
            kind = type(error).__name__
            log.error("the memory failed to tell how a user pauses: %s", kind)
            self._emit(Failed(StoreError(f"the memory failed with {kind}; expected a profile")))
        self._wait(self._detector.patience)

    def begin(self, ear: Ear | None) -> None:
        """A turn begins; None for one that teaches nothing."""
        self._learn()
        self._ear = None if ear is None or ear.is_over_agent else ear
        self._fresh.clear()

    def paused(self, pause: Seconds) -> None:
        """The speaker paused for so long and went on."""
        if self._ear is not None:
            self._fresh.append(pause)

    def ended(self, at: Seconds) -> None:
        """The speaker fell silent then, and the turn was taken for ended."""
        self._ended_at = at

    def went_on(self, at: Seconds) -> None:
        """The turn had not ended: the speaker went on then, and had heard no answer.

        A gap longer than any pause that is waited for is rather somebody who asks again; one too
        short for a pause is a turn that was cut at its greatest length.
        """
        policy, pause = self._detector.policy, at - self._ended_at
        if policy.soft_end <= pause <= policy.max_delay:
            self.paused(pause)

    def over(self, cues: Cues) -> None:
        """A turn that sounded like this was answered: from now on its pauses count."""
        self._learn()
        self._wait(patience_for(cues))

    def forget(self) -> None:
        """Forget how this user pauses, here; the memory has been told already."""
        self._profile = PauseProfile()
        self._ear = None
        self._fresh.clear()
        self._store.submit(self._unkept.clear)
        self._wait(self._detector.patience)

    def close(self) -> None:
        """The conversation has ended; what could not be kept is tried once more."""
        self.begin(None)
        if self._unkept:
            self._store.submit(self._keep, ())

    def _wait(self, at_least: float) -> None:
        policy = self._detector.policy
        learnt = self._profile.patience(policy)
        self._detector.patience = min(max(at_least, learnt), policy.most_patience)

    def _learn(self) -> None:
        """Take the pauses so far into the profile, if the words of their turn are kept."""
        if self._ear is None or not self._ear.turn_id or not self._fresh:
            return
        self._profile = _after(self._profile, self._fresh)
        self._store.submit(self._keep, tuple(self._fresh))
        self._fresh.clear()

    def _keep(self, pauses: tuple[Seconds, ...]) -> None:
        """Add pauses to what the memory has by now.

        Another device may have added to it, and what was erased meanwhile must not come back.
        """
        self._unkept.extend(pauses)
        if self._unkept:
            profile = _after(self._memory.pauses(self._user), self._unkept)
            self._memory.keep_pauses(self._user, profile)
            self._unkept.clear()


def _after(profile: PauseProfile, pauses: Iterable[Seconds]) -> PauseProfile:
    for pause in pauses:
        profile = profile.after(pause)
    return profile
