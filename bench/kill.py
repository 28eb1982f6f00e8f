"""The kill test: durable sends under load, `kill -9` at a random moment, again and again; then history must hold them.

Each writer keeps a book of what it was told. Nothing in the book comes from the server's files: only from answers, and
at the end from `history`, as any client reads it.
"""

import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import trio

from bench.accounts import Population, populate, sqlite_under
from bench.cores import Cores
from bench.kill_client import KillClient, Refused
from bench.ledger import Ledger, Verdict
from bench.servers import CONFIG, SECRET_FILE, ServerFailed, load_secret, start_chatd, stop
from bench.tokens import signer
from protocol.names import UserId, direct_channel

Say = Callable[[str], None]

_ROUND_SECONDS = 60.0
_SETTLE_SECONDS = 60.0
_ACKS_BEFORE_KILL = 200


@dataclass(frozen=True, slots=True)
class Kill:
    """How the kill test is run."""

    rounds: int = 20
    clients: int = 100
    in_flight: int = 4
    longest_seconds: float = 1.5  # under load before the kill, at the most
    seed: int = 0
    config: Path = CONFIG


@dataclass(slots=True)
class KillReport:
    """What the kill test found."""

    rounds: int = 0
    acked: int = 0
    resent: int = 0
    duplicates: int = 0  # resends that had arrived before the kill
    start_seconds: list[float] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    def summary(self) -> str:
        """Say what was found."""
        wrong = ", ".join(f"{count} {what}" for what, count in asdict(self.verdict).items() if count)
        return (
            f"{self.rounds} kills: {self.acked} messages acknowledged, {self.resent} sent again, "
            f"{self.duplicates} of those had arrived; slowest start {max(self.start_seconds):.1f} s\n"
            + (f"WRONG: {wrong}" if wrong else "None lost, none twice, all in order and in their places.")
        )


async def kill_test(options: Kill, cores: Cores, say: Say) -> KillReport:
    """Run all rounds, then read everything back.

    Raises:
        ServerFailed: The server did not start again, or refused what it must not refuse.
    """
    chance = random.Random(options.seed)
    report = KillReport()
    ledgers = [_ledger(index) for index in range(options.clients)]
    with tempfile.TemporaryDirectory(prefix="chatd-kill-") as directory:
        var = Path(directory)
        names = [name for ledger in ledgers for name in (ledger.writer, ledger.reader)]
        await trio.to_thread.run_sync(populate, sqlite_under(var), Population(names))
        for number in range(1, options.rounds + 1):
            before = _acked(ledgers)
            await _round(var, options, cores, ledgers, chance, report)
            report.rounds = number
            say(f"round {number}: {_acked(ledgers) - before} messages acknowledged, then killed")
        await _settle(var, options, cores, ledgers, report)
    report.acked = _acked(ledgers)
    report.resent = sum(ledger.resent for ledger in ledgers)
    report.duplicates = sum(ledger.duplicates for ledger in ledgers)
    return report


class _Enough:
    """Sets an event when something happened often enough: the server is then under load."""

    def __init__(self, times: int) -> None:
        self.event = trio.Event()
        self._left = times

    def count(self) -> None:
        """Count one."""
        self._left -= 1
        if self._left == 0:
            self.event.set()


def _ledger(index: int) -> Ledger:
    writer, reader = f"writer{index}", f"reader{index}"
    return Ledger(writer, reader, direct_channel(UserId(writer), UserId(reader)))


def _acked(ledgers: list[Ledger]) -> int:
    return sum(len(ledger.acked) for ledger in ledgers)


async def _round(
    var: Path, options: Kill, cores: Cores, ledgers: list[Ledger], chance: random.Random, report: KillReport
) -> None:
    """Start the server, write as fast as the windows allow, and kill it at a random moment under load."""
    process, address = await _start(var, options, cores, report)
    try:
        enough = _Enough(_ACKS_BEFORE_KILL)
        with trio.fail_after(_ROUND_SECONDS):
            async with trio.open_nursery() as nursery:
                sign = signer(load_secret(var / SECRET_FILE))
                for ledger in ledgers:
                    nursery.start_soon(KillClient(ledger, address, sign).read_until_cut)
                    nursery.start_soon(
                        KillClient(ledger, address, sign).write_until_cut, options.in_flight, enough.count
                    )
                await enough.event.wait()
                await trio.sleep(chance.uniform(0, options.longest_seconds))
                process.kill()
    except* (trio.TooSlowError, Refused) as errors:
        raise ServerFailed(f"a round under load failed: {errors.exceptions[0]!r}") from errors
    finally:
        process.kill()
        process.wait()


async def _settle(var: Path, options: Kill, cores: Cores, ledgers: list[Ledger], report: KillReport) -> None:
    """Start the server a last time, resend what is open, and compare history with the books."""
    process, address = await _start(var, options, cores, report)
    sign = signer(load_secret(var / SECRET_FILE))
    try:
        with trio.fail_after(_SETTLE_SECONDS):
            async with trio.open_nursery() as nursery:
                for ledger in ledgers:
                    nursery.start_soon(KillClient(ledger, address, sign).resend_open)
            for ledger in ledgers:
                history = await KillClient(ledger, address, sign).read_history()
                report.verdict.add(ledger.judge(history))
    except* (trio.TooSlowError, Refused) as errors:
        raise ServerFailed(f"the last start did not settle everything: {errors.exceptions[0]}") from errors
    finally:
        stop(process)


async def _start(
    var: Path, options: Kill, cores: Cores, report: KillReport
) -> tuple[subprocess.Popen[bytes], tuple[str, int]]:
    began = time.monotonic()
    started = await trio.to_thread.run_sync(start_chatd, var, cores.server, options.config)
    report.start_seconds.append(time.monotonic() - began)
    return started
