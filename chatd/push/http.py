"""HTTP POSTs to push services: over HTTP/2 by the client of this package, else by the one for all outgoing requests."""

import ssl
from collections import OrderedDict
from urllib.parse import SplitResult, urlsplit

import trio

from chatd.outbound.client import Client, PostFailed
from chatd.push.h2_client import Answer, ConnectionFailed, H2Bounds, H2Client, Headers, NotHttp2

# An answer that a service sends over HTTP/1.1 is read up to here.
_ANSWER_BYTES = 65_536


class Http:
    """Connections to a bounded number of hosts; the one unused for the longest makes room. `run` has to run."""

    def __init__(self, tls: ssl.SSLContext, bounds: H2Bounds, hosts: int) -> None:
        self._tls = tls
        self._bounds = bounds
        self._hosts = hosts
        self._clients: OrderedDict[str, H2Client] = OrderedDict()
        self._plain_hosts: OrderedDict[str, None] = OrderedDict()
        self._nursery: trio.Nursery | None = None
        self._plain: Client | None = None

    @property
    def connections(self) -> int:
        """How many HTTP/2 connections are open."""
        return sum(client.connections for client in self._clients.values())

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the connections until cancelled."""
        # Where notifications go, the operator says: by the URLs and hosts of the configuration. So inside too.
        self._plain = Client(connections=self._bounds.connections * self._hosts, allow_private=True, tls=self._tls)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            await self._plain.aclose()

    async def post(self, url: str, headers: Headers, body: bytes, *, path: str = "") -> Answer:
        """Send a request and return its answer. Redirects are not followed. `path` goes behind the URL.

        Raises:
            ConnectionFailed: It got none in time.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.netloc in self._plain_hosts:
            return await self._post_plainly(url + path, headers, body)
        target = (parts.path + path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            return await self._client(parts).post(target, headers, body)
        except NotHttp2:
            self._plain_hosts[parts.netloc] = None
            if len(self._plain_hosts) > self._hosts:
                self._plain_hosts.popitem(last=False)
            return await self._post_plainly(url + path, headers, body)

    def _client(self, parts: SplitResult) -> H2Client:
        client = self._clients.get(parts.netloc)
        if client is not None:
            self._clients.move_to_end(parts.netloc)
            return client
        assert self._nursery is not None, "`run` has to run"
        self._make_room()
        client = H2Client(parts.hostname or "", parts.port or 443, self._tls, self._bounds, self._nursery)
        self._clients[parts.netloc] = client
        return client

    def _make_room(self) -> None:
        """Close the connections of a host that nobody waits for, if there are too many hosts.

        Raises:
            ConnectionFailed: All of them are in use.
        """
        if len(self._clients) < self._hosts:
            return
        for host, client in self._clients.items():
            if not client.load:
                client.close()
                del self._clients[host]
                return
        raise ConnectionFailed("requests to too many hosts at once")

    async def _post_plainly(self, url: str, headers: Headers, body: bytes) -> Answer:
        assert self._plain is not None, "`run` has to run"
        fields = {name.decode(): value.decode() for name, value in headers}
        try:
            answer = await self._plain.post(
                url, body, fields, seconds=self._bounds.request_seconds, answer_bytes=_ANSWER_BYTES
            )
        except PostFailed as error:
            raise ConnectionFailed(str(error)) from error
        return Answer(answer.status, answer.headers, answer.body)
