"""The server API: `[backend]`."""

from typing import Annotated

from msgspec import Meta

from chatd.config.section import Count, Rate, Seconds, Section, Zero


class Backend(Section, frozen=True, kw_only=True):
    """The server API, for programs of yours and the people who run the deployment."""

    key_refresh_seconds: Seconds = 5.0
    requests_per_second: Rate = 2000.0
    requests_burst: Count = 4000
    messages_per_second: Rate = 100_000.0
    messages_burst: Count = 200_000
    messages_per_day: Zero = 0
    batch_messages: Annotated[int, Meta(ge=1, le=1000)] = 1000
    page_items: Annotated[int, Meta(ge=1, le=1000)] = 200
    import_users: Annotated[int, Meta(ge=1, le=1000)] = 1000
    tick_seconds: Seconds = 0.5
    jobs_at_once: Annotated[int, Meta(ge=1, le=1000)] = 200
    ahead_days: Count = 366
    subscription_token_seconds: Count = 3600
