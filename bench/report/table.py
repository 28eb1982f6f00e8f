"""The result in the terminal."""

from rich.console import Console
from rich.table import Table

from bench.report.words import spread_text, title
from bench.results import Result

_MOST_ERRORS = 5


def show(result: Result, console: Console) -> None:
    """Print figures, checks and warnings."""
    targets = result.targets
    table = Table(title=f"{result.scenario}: {_asked(result)}", title_justify="left")
    table.add_column("figure")
    for target in targets:
        table.add_column(target, justify="right")
    if len(targets) > 1:
        table.add_column("ratio", justify="right")
    for name in result.figures():
        row = [title(name), *(spread_text(result.figure(target, name)) for target in targets)]
        if len(targets) > 1:
            row.append(spread_text(result.ratio(name), "×"))
        table.add_row(*row)
    console.print(table)
    for line in remarks(result):
        console.print(line)


def remarks(result: Result) -> list[str]:
    """Say what was wrong, or that nothing was, and what to think of the figures."""
    lines = []
    for target in result.targets:
        rounds = result.of(target)
        for number, one in enumerate(rounds, 1):
            place = f"{target}, round {number}" if len(rounds) > 1 else target
            if not one.checks.is_good:
                wrong = ", ".join(f"{count} {what}" for what, count in one.checks._asdict().items() if count)
                lines.append(f"WRONG {place}: {wrong}")
            lines += [f"WRONG {place}: {failure}" for failure in one.failures]
            errors = sorted(one.errors.items(), key=lambda error: -error[1])
            lines += [f"{place}: {count} × {error}" for error, count in errors[:_MOST_ERRORS]]
            if len(errors) > _MOST_ERRORS:
                lines.append(f"{place}: and {len(errors) - _MOST_ERRORS} other errors")
            lines += [f"{place}: {note}" for note in one.notes]
        if any(one.generator_limited for one in rounds):
            lines.append(f"{target}: the load generator was the limit, not the server; rates are lower bounds")
    if result.is_good:
        lines.insert(0, "Every delivery came once and in order; every send was answered.")
    return lines


def _asked(result: Result) -> str:
    return ", ".join(f"{name} {value}" for name, value in result.options.items() if value not in (0, 0.0, False, ""))
