"""Runs a scenario in rounds that alternate between the servers, so that the machine's mood is the same for all."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.bed import run_round
from bench.cores import Cores
from bench.results import Result, machine
from bench.scenarios import AnyScenario, Dm
from bench.servers import CONFIG
from bench.targets import Launch
from bench.watch import Show


@dataclass(frozen=True, slots=True)
class Plan:
    """How a scenario is run, whatever it is."""

    cores: Cores
    rounds: int = 1
    body_bytes: int = 200
    config: Path = CONFIG


def run(name: str, scenario: AnyScenario, launches: Sequence[Launch], plan: Plan, show: Show) -> Result:
    """Run so many rounds against each server; each is brought up anew for each round."""
    result = Result(
        scenario=name,
        options=asdict(scenario) | {"body_bytes": plan.body_bytes, "rounds": plan.rounds},
        started=time.time(),
        machine=machine() | {"server_and_generator_share_a_core": plan.cores.are_shared},
        config=plan.config.read_text("utf-8"),
    )
    accounts = scenario.accounts() if isinstance(scenario, Dm) else []
    for _ in range(plan.rounds):
        for launch in launches:
            with launch(plan.cores.server, accounts) as server:
                result.rounds.append(run_round(scenario, server, plan.cores, plan.body_bytes, show))
    return result
