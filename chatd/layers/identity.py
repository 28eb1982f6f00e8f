"""Who somebody is: tokens and accounts."""

from dataclasses import dataclass

from chatd.accounts.accounts import Accounts
from chatd.accounts.issuer import open_issuer
from chatd.accounts.refresh_tokens import RefreshTokens
from chatd.accounts.subscription_tokens import SubscriptionTokens
from chatd.accounts.tokens import Tokens
from chatd.layers.ground import Ground


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells users and devices from others."""

    tokens: Tokens
    leaves: SubscriptionTokens
    accounts: Accounts


def build_identity(ground: Ground) -> Identity:
    """Make it.

    Raises:
        ConfigError: The keys of an outside issuer cannot be used.
    """
    auth, clock = ground.config.auth, ground.clock
    issuer = open_issuer(auth, clock)
    tokens = Tokens(ground.secret, auth, clock, issuer)
    return Identity(
        tokens,
        SubscriptionTokens(ground.secret, auth, clock, issuer),
        Accounts(ground.store, tokens, RefreshTokens(ground.secret), auth, clock),
    )
