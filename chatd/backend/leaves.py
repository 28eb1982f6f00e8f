"""Tokens for one subscription, signed for backends that ask."""

from chatd.accounts.subscription_tokens import SubscriptionTokens
from chatd.backend.actions import BackendAction
from chatd.backend.caller import Caller
from chatd.config import Backend
from chatd.rights import Action, Denied, Directory, require_backend
from protocol.codes import ErrorCode
from protocol.names import UserId, is_user_id

_DAY_SECONDS = 86_400


class Leaves:
    """Signs tokens that let a user subscribe to a channel; raises `Denied` where that makes no sense or may not be."""

    def __init__(self, tokens: SubscriptionTokens, directory: Directory, config: Backend) -> None:
        self._tokens = tokens
        self._directory = directory
        self._config = config

    def issue(self, caller: Caller, user: str, channel: str, seconds: int | None) -> tuple[str, int]:
        """Return a token and for how many seconds it is good."""
        address = self._directory.find(channel)
        caller.require_in(BackendAction.TOKENS, address)
        require_backend(Action.READ, address)
        if address.is_member_channel:
            raise Denied(ErrorCode.FORBIDDEN, "members get this channel without subscribing")
        if not is_user_id(user):
            raise Denied(ErrorCode.UNKNOWN_USER, "that is no user id")
        lifetime = self._config.subscription_token_seconds if seconds is None else seconds
        if lifetime > self._config.ahead_days * _DAY_SECONDS:
            raise Denied(ErrorCode.BAD_REQUEST, f"a token is good for {self._config.ahead_days} days at most")
        return self._tokens.issue(UserId(user), address.name, lifetime), lifetime
