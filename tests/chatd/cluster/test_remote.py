"""Orders between nodes of different versions."""

import msgspec
import pytest
from structlog.testing import capture_logs

from chatd.cluster.orders import Find
from chatd.cluster.post import EVERYBODY
from tests.rig.cluster import running_site, until
from tests.rig.redis import RedisServer

pytestmark = pytest.mark.system


async def test_an_order_of_a_newer_version_is_a_line_and_no_fault(redis_server: RedisServer) -> None:
    async with running_site(redis_server, "old") as old, running_site(redis_server, "new") as new:
        await until(lambda: len(new.cluster.leases.nodes) == 2)
        with capture_logs() as logged:
            new.cluster.post.send(EVERYBODY, "order", msgspec.msgpack.encode([1, {"type": "of_tomorrow"}]))
            assert len(await new.cluster.remote.everywhere_else(Find(limit=1))) == 1  # it comes behind the other
        said = [str(line) for line in logged if "order" in str(line)]
        assert any("this version does not know" in line and new.cluster.incarnation.node in line for line in said)
        assert not any("could not be taken" in line for line in said)
        assert old.cluster.post.taken > 0
