"""The Redis servers that many nodes share: `[redis]`."""

from typing import Annotated, Literal

from msgspec import Meta

from chatd.config.section import Count, Seconds, Section, Zero


class RedisTls(Section, frozen=True, kw_only=True):
    """TLS to the Redis servers."""

    enabled: bool = False
    authority: str = ""
    certificate: str = ""
    key: str = ""
    check_hostname: bool = True


class Redis(Section, frozen=True, kw_only=True):
    """The Redis servers that many nodes share."""

    kind: Literal["servers", "cluster", "sentinel"] = "servers"
    servers: Annotated[tuple[str, ...], Meta(min_length=1)] = ("127.0.0.1:6379",)
    sentinel_name: str = "chatd"
    sentinel_username: str = ""
    sentinel_password: str = ""
    username: str = ""
    password: str = ""
    database: Zero = 0
    prefix: str = "chatd:"
    shards: Annotated[int, Meta(ge=1, le=16384)] = 128
    connect_seconds: Seconds = 3.0
    reply_seconds: Seconds = 5.0
    ping_seconds: Seconds = 5.0
    waiting_calls: Count = 50_000
    away_seconds: Seconds = 15.0
    tls: RedisTls = RedisTls()
