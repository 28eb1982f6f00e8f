"""Accounts and tokens: `[auth]`."""

from typing import Annotated, Literal

from msgspec import Meta

from chatd.config.section import MOST, Count, Seconds, Section, Text, Zero

Algorithm = Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]


class Auth(Section, frozen=True, kw_only=True):
    """Accounts, and the tokens that sessions and requests show."""

    registration: bool = True
    guests: bool = True
    access_seconds: Count = 900
    refresh_seconds: Count = 2_592_000
    guest_seconds: Count = 86_400
    guest_days: Zero = 90
    leeway_seconds: Zero = 30
    password_min_length: Count = 8
    password_max_length: Count = 1024
    hash_threads: Count = 2
    hash_waiting: Count = 64
    hash_memory_kib: Annotated[int, Meta(ge=8, le=MOST)] = 19456
    hash_passes: Count = 2
    login_failures: Count = 5
    login_delay_seconds: Seconds = 1.0
    login_delay_max_seconds: Seconds = 300.0
    login_tracked: Count = 100_000
    devices_per_user: Count = 50
    issuer: str = ""
    audience: str = ""
    algorithms: tuple[Algorithm, ...] = ()
    key_file: str = ""
    jwks_url: str = ""
    jwks_cache_seconds: Seconds = 300.0
    jwks_refetch_seconds: Seconds = 10.0
    user_claim: Text = "sub"
