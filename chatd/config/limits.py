"""What one client, user or address may use: `[limits]`."""

from chatd.config.section import Count, Rate, Seconds, Section, Zero


class Limits(Section, frozen=True, kw_only=True):
    """Every bound on what one client, user or address may use."""

    head_bytes: Count = 16384
    head_seconds: Seconds = 10.0
    hello_seconds: Seconds = 10.0
    frame_bytes: Count = 66560
    message_bytes: Count = 65536
    fragments: Count = 64
    outbox_bytes: Count = 262144
    connections: Count = 100_000
    connections_per_address: Count = 1000
    connects_per_second: Rate = 50.0
    connects_burst: Count = 200
    addresses: Count = 100_000
    sessions_per_user: Count = 20
    subscriptions: Count = 128
    cursors: Count = 256
    recover_messages: Count = 500
    recover_bytes: Count = 2_097_152
    history_messages: Count = 200
    listed_channels: Count = 1000
    commands_per_second: Rate = 30.0
    commands_burst: Count = 120
    messages_per_second: Rate = 10.0
    messages_burst: Count = 60
    rate_grace: Zero = 100
    http_body_bytes: Count = 1_048_576
    http_body_seconds: Seconds = 15.0
    http_idle_seconds: Seconds = 30.0
    http_reads_per_turn: Count = 2
    http_requests_per_second: Rate = 50.0
    http_requests_burst: Count = 200
    user_requests_per_second: Rate = 20.0
    user_requests_burst: Count = 100
