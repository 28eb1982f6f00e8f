"""Runs a scenario in rounds that alternate between the servers, so that the machine's mood is the same for all."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.accounts import Population
from bench.bed import run_round
from bench.cores import Cores, kept_clear
from bench.environment import config_changes, machine, versions
from bench.results import Result
from bench.scenarios import AnyScenario, Peopled
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
    speaks: str = "chatd"  # what the first server is called: how its clients speak


def run(name: str, scenario: AnyScenario, launches: Sequence[Launch], plan: Plan, show: Show) -> Result:
    """Run so many rounds against each server; each is brought up anew for each round."""
    result = Result(
        scenario=name,
        options=asdict(scenario) | {"body_bytes": plan.body_bytes, "rounds": plan.rounds, "speaks": plan.speaks},
        started=time.time(),
        machine=machine() | {"server_and_generator_share_a_core": plan.cores.are_shared},
        config=plan.config.read_text("utf-8"),
        config_changes=config_changes(plan.config),
        versions=versions(),
    )
    population = scenario.population() if isinstance(scenario, Peopled) else Population()
    for _ in range(plan.rounds):
        for launch in launches:
            with launch(plan.cores.server, population) as server, kept_clear(plan.cores.server):
                result.rounds.append(run_round(scenario, server, plan.cores, plan.body_bytes, show))
    return result
