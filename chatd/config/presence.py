"""Who is there, and how far users have read: `[presence]` and `[reads]`."""

from chatd.config.section import Count, Pause, Seconds, Section, Zero


class Presence(Section, frozen=True, kw_only=True):
    """Who is there."""

    grace_seconds: Pause = 10.0
    tick_seconds: Seconds = 1.0
    list_users: Zero = 100
    last_seen_save_seconds: Seconds = 5.0
    remembered_users: Count = 200_000


class Reads(Section, frozen=True, kw_only=True):
    """How far users have read."""

    save_seconds: Seconds = 1.0
    waiting: Count = 100_000
