"""Slows down the guessing of passwords: after some failures each further one doubles the wait. Pure, time is given."""

from collections import OrderedDict

import msgspec

from chatd.config import Auth

_MAX_DOUBLINGS = 40


class _Failures(msgspec.Struct):
    count: int
    at: float


class LoginGuard:
    """Remembers the failures of names and addresses, the latest `login_tracked` of them.

    A name's attempt counts as failed from its beginning until it has succeeded, so that guesses made all at once are
    counted like those made one after the other. An address only pays for what has failed: behind it there may be an
    office whose people come in at nine. One failure is forgotten for each `login_delay_max_seconds` of quiet.
    """

    def __init__(self, config: Auth) -> None:
        self._free = config.login_failures
        self._delay = config.login_delay_seconds
        self._max_delay = config.login_delay_max_seconds
        self._tracked = config.login_tracked
        self._names: OrderedDict[str, _Failures] = OrderedDict()
        self._addresses: OrderedDict[str, _Failures] = OrderedDict()

    def begin(self, name: str, address: str, now: float) -> float:
        """Return 0.0 if the password may be tried now, else the seconds to wait; then nothing is counted."""
        wait = max(self._wait(self._names, name, now), self._wait(self._addresses, address, now))
        if wait == 0.0:
            self._count(self._names, name, now)
        return wait

    def failed(self, address: str, now: float) -> None:
        """Count a wrong password against the address it came from (its name was counted when it began)."""
        self._count(self._addresses, address, now)

    def succeeded(self, name: str) -> None:
        """Forget the failures of a name: its owner is here."""
        self._names.pop(name, None)

    def withdrawn(self, name: str) -> None:
        """Take back an attempt that was begun and came to nothing for a reason of our own."""
        if name in self._names:
            self._names[name].count = max(0, self._names[name].count - 1)

    def _wait(self, table: OrderedDict[str, _Failures], key: str, now: float) -> float:
        failures = table.get(key)
        if failures is None:
            return 0.0
        count = self._count_now(failures, now)
        if count < self._free:
            return 0.0
        delay = min(self._delay * 2.0 ** min(count - self._free, _MAX_DOUBLINGS), self._max_delay)
        return max(0.0, failures.at + delay - now)

    def _count_now(self, failures: _Failures, now: float) -> int:
        return max(0, failures.count - int((now - failures.at) // self._max_delay))

    def _count(self, table: OrderedDict[str, _Failures], key: str, now: float) -> None:
        failures = table.get(key)
        if failures is None:
            table[key] = _Failures(1, now)
            if len(table) > self._tracked:
                table.popitem(last=False)
            return
        failures.count = self._count_now(failures, now) + 1
        failures.at = now
        table.move_to_end(key)
