"""Takes notifications and hands over none of them, so that everything up to there can be tried out."""

import structlog

from chatd.push import Delivered, Notification, Outcome, Provider
from storage.records import PushTokenRecord

_log = structlog.get_logger("push")


class DryRun:
    """Implements `Provider` in place of one that is not to be bothered. What would be said is not in the log."""

    def __init__(self, name: str, provider: Provider) -> None:
        self._name = name
        self._provider = provider

    def circuit(self, token: PushTokenRecord) -> str:
        """Return what the real one says."""
        return self._provider.circuit(token)

    async def send(self, notification: Notification, token: PushTokenRecord) -> Outcome:
        """Say in the log that it would be handed over."""
        _log.info("a push would be sent", provider=self._name, user=token.user, kind=notification.kind)
        return Delivered()
