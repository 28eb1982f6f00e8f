"""The live line of a run in a terminal; silent where there is none."""

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench.report.words import number
from bench.watch import Tick


class LiveLine:
    """Shows the newest tick. A context manager."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> "LiveLine":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, phase: str, tick: Tick) -> None:
        """Replace what is shown."""
        if self._live:
            self._live.update(render(phase, tick))


def render(phase: str, tick: Tick) -> Table:
    """Make the table of one tick."""
    table = Table(title=phase, title_justify="left")
    cells = {
        "connections": number(tick.connections),
        "deliveries/s": number(tick.deliveries_per_second),
        "acks/s": number(tick.acks_per_second),
        "p50 ms": number(tick.p50_ms),
        "p99 ms": number(tick.p99_ms),
        "server CPU": f"{tick.server_cpu:.0%}",
        "server MiB": number(tick.server_mib),
        "generator CPU": f"{tick.generator_cpu:.0%}",
    }
    for heading in cells:
        table.add_column(heading, justify="right")
    table.add_row(*cells.values())
    return table
