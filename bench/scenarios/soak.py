"""Hours of coming, writing, and going: whether the server's memory stays where it is."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import profile
from bench.accounts import Population
from bench.bed import Bed, Round, ScenarioFailed
from bench.pace import Pace

_RETURN_SECONDS = 60.0
_DRAIN_SECONDS = 10.0
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Soak:
    """Play a profile; after each cycle all readers are cut and return with their cursors, and memory is measured.

    What was measured after `warm_seconds` must rise by no more than `mib_per_hour`.
    """

    profile: str = str(profile.SOAK)
    seconds: float = 600.0
    warm_seconds: float = 120.0
    cycle_seconds: float = 10.0
    mib_per_hour: float = 30.0

    def population(self) -> Population:
        """Return the users and groups that must exist."""
        return profile.load(Path(self.profile)).population()

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        bed.open(profile.load(Path(self.profile)).seats(bed))
        began = time.monotonic()
        measured = bed.measure(Pace(own=True), self.cycle_seconds, warm_seconds=0)
        samples = []
        while (at := time.monotonic() - began) < self.seconds:
            samples.append((at, bed.server.memory().pss_kib / 1024))
            self._come_back(bed)
            bed.fleet.forget()
            measured = bed.measure(Pace(own=True), self.cycle_seconds, warm_seconds=0)
        bed.report(measured)
        judge(bed.round, [sample for sample in samples if sample[0] >= self.warm_seconds], self.mib_per_hour)

    def _come_back(self, bed: Bed) -> None:
        bed.fleet.drop(writers_too=False)
        opened = bed.fleet.bring_back(1000, _RETURN_SECONDS)
        if opened.ready < opened.asked:
            raise ScenarioFailed(f"{bed.server.name}: {opened.ready} of {opened.asked} clients came back")


def judge(found: Round, samples: list[tuple[float, float]], allowed: float) -> None:
    """Put into the round how fast memory rose, and that it was too fast.

    Raises:
        ScenarioFailed: There are too few samples to tell.
    """
    if len(samples) < _FEWEST:
        raise ScenarioFailed(f"too short: memory was measured {len(samples)} times after the warm-up")
    slope = mib_per_hour(samples)
    found.figures |= {
        "mib_per_hour": slope,
        "pss_mib_first": samples[0][1],
        "pss_mib": samples[-1][1],
        "cycles": float(len(samples)),
    }
    if slope > allowed:
        found.failures.append(f"memory rose by {slope:.1f} MiB an hour; {allowed:g} are allowed")


def mib_per_hour(samples: list[tuple[float, float]]) -> float:
    """Return how fast memory rises: the median of the slopes between any two samples, which single peaks do not move.

    Samples are (seconds, MiB). Of very many, evenly spread ones are taken.
    """
    step = math.ceil(len(samples) / 500)
    at, mib = np.array(samples[::step], np.float64).T
    one, other = np.triu_indices(len(at), 1)
    return float(np.median((mib[other] - mib[one]) / (at[other] - at[one]))) * 3600
