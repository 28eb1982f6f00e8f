"""The result of a run: its rounds, in one JSON file that any later run can be compared with."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.bed import Round
from bench.histogram import Histogram
from bench.seats import Checks
from bench.watch import Tick

FORMAT = 1
RESULTS = Path("bench/results")
"""Where results go, seen from where the bench is started."""

Spread = tuple[float, float, float]
"""Minimum, median and maximum."""


class ResultError(Exception):
    """The file is no result of the bench."""


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario, as it was asked for, and what each round brought."""

    scenario: str
    options: dict[str, Any]
    started: float  # Unix time
    machine: dict[str, Any]
    config: str  # the text of chatd's configuration file
    rounds: list[Round] = field(default_factory=list)
    config_changes: dict[str, Any] = field(default_factory=dict)  # where it differs from the shipped one
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def targets(self) -> list[str]:
        """The servers in the order of their first rounds."""
        return list(dict.fromkeys(one.target for one in self.rounds))

    def of(self, target: str) -> list[Round]:
        """Return the rounds against one server."""
        return [one for one in self.rounds if one.target == target]

    def figure(self, target: str, name: str) -> Spread | None:
        """Return the spread of a figure over the rounds of one server."""
        return spread([one.figures[name] for one in self.of(target) if name in one.figures])

    def figures(self) -> list[str]:
        """Return the names of all figures, in the order in which they came."""
        return list(dict.fromkeys(name for one in self.rounds for name in one.figures))

    def ratio(self, name: str) -> Spread | None:
        """Return the first server's figure over the second's, round by round; None when there is no second."""
        if len(self.targets) < 2:
            return None
        pairs = zip(self.of(self.targets[0]), self.of(self.targets[1]), strict=False)
        return spread([one.figures[name] / other.figures[name] for one, other in pairs if _both_have(one, other, name)])

    @property
    def is_good(self) -> bool:
        """Tell whether every delivery of every round was right, and nothing else failed."""
        return all(one.checks.is_good and not one.failures for one in self.rounds)


def _both_have(one: Round, other: Round, name: str) -> bool:
    return name in one.figures and bool(other.figures.get(name))


def spread(values: list[float]) -> Spread | None:
    """Return minimum, median and maximum; None of nothing."""
    return (min(values), median(values), max(values)) if values else None


def save(result: Result, directory: Path) -> Path:
    """Write the JSON file; return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(result.started))
    path = directory / f"{stamp}-{result.scenario}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_plain(result)), indent=1))
    return path


def load(path: Path) -> Result:
    """Read a JSON file that `save` wrote.

    Raises:
        ResultError: It is none, or of another version of the bench.
    """
    try:
        plain = msgspec.json.decode(path.read_bytes())
        if plain["format"] != FORMAT:
            raise ResultError(f"{path}: written by another version of the bench")
        rounds = [_round(one) for one in plain.pop("rounds")]
        del plain["format"]
        return Result(**plain, rounds=rounds)
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise ResultError(f"{path}: no result of the bench ({error})") from error


def _plain(result: Result) -> dict[str, Any]:
    rounds = []
    for one in result.rounds:
        plain: dict[str, Any] = {
            name: getattr(one, name)
            for name in ("target", "version", "figures", "errors", "failures", "notes", "generator_limited")
        }
        plain["checks"] = one.checks._asdict()
        plain["delivery"] = one.delivery.to_sparse()
        plain["ack"] = one.ack.to_sparse()
        plain["ticks"] = [asdict(tick) for tick in one.ticks]
        rounds.append(plain)
    return {
        "format": FORMAT,
        "scenario": result.scenario,
        "options": result.options,
        "started": result.started,
        "machine": result.machine,
        "config": result.config,
        "config_changes": result.config_changes,
        "versions": result.versions,
        "rounds": rounds,
    }


def _round(plain: Mapping[str, Any]) -> Round:
    return Round(
        **{
            **plain,
            "checks": Checks(**plain["checks"]),
            "delivery": Histogram.from_sparse(plain["delivery"]),
            "ack": Histogram.from_sparse(plain["ack"]),
            "ticks": [Tick(**tick) for tick in plain["ticks"]],
        }
    )
