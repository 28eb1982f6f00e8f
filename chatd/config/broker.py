"""What numbers messages and sends them out: `[broker]`."""

from typing import Annotated, Literal

from msgspec import Meta

from chatd.config.section import MOST, Count, Pause, Seconds, Section


class Broker(Section, frozen=True, kw_only=True):
    """What numbers messages and sends them out."""

    kind: Literal["memory", "redis"] = "memory"
    open_channels: Count = 200_000
    idle_seconds: Seconds = 300.0
    recent_messages: Count = 200
    dedupe_keys: Count = 50_000
    dedupe_days: Count = 7
    save_seconds: Seconds = 0.5
    save_rows_per_second: Count = 1000
    fanout_slice: Count = 1000
    publish_seconds: Seconds = 10.0
    dedupe_seconds: Count = 600
    forget_seconds: Annotated[int, Meta(ge=60, le=MOST)] = 86_400
    linger_seconds: Seconds = 15.0
    leftover_seconds: Seconds = 5.0
    leftover_rows: Count = 500
    settle_seconds: Pause = 2.0
    hole_seconds: Seconds = 0.1
    held_messages: Count = 10_000
    unstored_messages: Count = 10_000
