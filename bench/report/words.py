"""How figures are named and written in tables: the same in the terminal, in Markdown and on the page."""

from bench.results import Spread

TITLES = {
    "deliveries_per_cpu_second": "deliveries per server CPU second",
    "acks_per_cpu_second": "acks per server CPU second",
    "deliveries_per_second": "deliveries per second",
    "acks_per_second": "acks per second",
    "delivery_p50_ms": "delivery latency p50, ms",
    "delivery_p99_ms": "delivery latency p99, ms",
    "ack_p50_ms": "ack latency p50, ms",
    "ack_p99_ms": "ack latency p99, ms",
    "server_cpu": "server CPU, share of a core",
    "generator_cpu": "load generator CPU, share of a core",
    "generator_ceiling_per_second": "load generator's own ceiling, deliveries per second",
    "saturation_per_second": "saturated: messages per second",
    "half_per_second": "measured at: messages per second",
    "kib_per_connection": "KiB per connection",
    "server_mib": "server memory, MiB",
    "kib_per_connection_in_all": "KiB per connection, with what the server has without any",
    "pss_mib_before": "server proportional memory without connections, MiB",
    "rss_mib": "server resident memory, MiB",
    "pss_mib": "server proportional memory, MiB",
    "connects_per_second": "connects per second",
    "connects_per_cpu_second": "connects per server CPU second",
    "connect_p50_ms": "connect latency p50, ms",
    "connect_p99_ms": "connect latency p99, ms",
    "storm_seconds": "storm: seconds until all are back",
    "storm_cpu_seconds": "storm: server CPU seconds",
    "storm_cpu_seconds_a_node": "storm: server CPU seconds of each node",
    "storm_cpu_seconds_5000": "storm: server CPU seconds for 5,000 reconnects",
    "storm_p50_ms": "storm: connect latency p50, ms",
    "storm_p99_ms": "storm: connect latency p99, ms",
    "p99_before_ms": "delivery latency p99 before, ms",
    "p99_ratio": "p99 after over p99 before",
    "cut_off": "stopped readers: cut off",
    "cut_off_with_4001": "stopped readers: cut off with 4001",
    "caught_up": "stopped readers: got everything later",
    "behind_mib": "stopped readers: the most that waited for one, MiB",
    "flickers": "storm: changes of state that were told",
    "told_offline": "told to be offline, once for each who watches",
    "leave_cpu_seconds": "server CPU seconds for that",
    "kib_per_user": "KiB per user",
    "mib_per_hour": "memory rises by MiB an hour",
    "pss_mib_first": "server proportional memory after the warm-up, MiB",
    "messages_caught_up": "messages caught up",
    "messages_per_cpu_second": "messages caught up per server CPU second",
    "return_seconds": "seconds until all are back",
    "return_cpu_seconds": "server CPU seconds until all are back",
    "return_p50_ms": "return latency p50, ms",
    "return_p99_ms": "return latency p99, ms",
}


def title(name: str) -> str:
    """Return the words for a figure."""
    return TITLES.get(name, name.replace("_", " "))


def number(value: float) -> str:
    """Write a number with as many digits as mean something."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def spread_text(values: Spread | None, unit: str = "") -> str:
    """Write a median with its minimum and maximum, where there was more than one round."""
    if values is None:
        return "–"
    low, middle, high = values
    text = f"{number(middle)}{unit}"
    return text if low == high else f"{text} ({number(low)}–{number(high)})"
