"""Acknowledged means kept: a process that writes is killed, and nothing it called done is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from protocol.names import ChannelName
from storage.sqlite import open_sqlite

ROUNDS = 3
WRITERS = 20
ACKNOWLEDGED = 2000  # printed by the child in a round, before it is killed

# Prints "writer seq" after each message that the store called done. os.write, so that nothing waits in a buffer.
CHILD = """
import os, sys
from functools import partial
from pathlib import Path
import trio
from protocol.body import Body, Encoding
from storage import append
from storage.records import StoredMessage
from storage.sqlite import open_sqlite

async def write(store, writer):
    channel = f"dm:{writer}"
    head = await store.head(channel)
    seq = head.seq if head else 0
    while True:
        seq += 1
        body = Body(Encoding.JSON, b'{"text":"%d"}' % seq)
        await append(store, [StoredMessage(
            channel=channel, epoch="first", seq=seq, sender=str(writer), key=str(seq), at=seq, body=body
        )])
        os.write(1, b"%d %d\\n" % (writer, seq))

async def main():
    async with open_sqlite(Path(sys.argv[1])) as store, trio.open_nursery() as nursery:
        for writer in range(int(sys.argv[2])):
            nursery.start_soon(write, store, writer)

trio.run(main)
"""


def kill_while_writing(path: Path) -> dict[int, int]:
    """Let a child write and kill it; return the last acknowledged seq of each writer."""
    command = [sys.executable, "-c", CHILD, str(path), str(WRITERS)]
    acknowledged: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        for count, line in enumerate(child.stdout):
            if count == ACKNOWLEDGED:
                child.kill()
            if line.endswith(b"\n"):
                writer, seq = line.split()
                acknowledged[int(writer)] = int(seq)
    assert sum(acknowledged.values()) >= ACKNOWLEDGED, "the child ended by itself"
    return acknowledged


@pytest.mark.system
async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "chatd.sqlite3"
    for _ in range(ROUNDS):
        acknowledged = kill_while_writing(path)
        async with open_sqlite(path) as store:
            for writer, last in acknowledged.items():
                kept = [message.seq for message in await store.history(ChannelName(f"dm:{writer}"), limit=100_000)]
                assert kept == list(range(1, len(kept) + 1))  # once, and without a hole
                assert len(kept) >= last
