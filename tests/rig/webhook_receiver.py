"""A backend that gets webhooks and is asked by hooks: a real HTTP server on loopback that checks every signature.

It verifies by itself, with nothing of chatd's, as the text of the Standard Webhooks specification says. It answers as a
test tells it: with a status, late, never, with garbage.
"""

import base64
import hashlib
import hmac
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import msgspec
import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SECRET = "whsec_" + base64.b64encode(b"a secret that both sides know").decode()
TOLERANCE_SECONDS = 300
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Its `webhook-id`."""
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        """Its body."""
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in it."""
        found = self.json
        events: list[dict[str, Any]] = found["data"]["events"] if found["type"] == "batch" else [found]
        return events


@dataclass(frozen=True)
class Reply:
    """What it answers; `garbage` is sent as it is, and `hangs` means that nothing is."""

    status: int = 204
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    garbage: bytes | None = None
    hangs: bool = False


@dataclass
class Receiver:
    """What came, and what is to be answered: `script` first, then what `answer` says."""

    port: int
    secrets: Sequence[str] = (SECRET,)
    requests: list[Received] = field(default_factory=list)
    script: deque[Reply] = field(default_factory=deque)
    answer: Callable[[Received], Reply] = lambda _: Reply()
    faults: list[str] = field(default_factory=list)
    connections: int = 0
    _changed: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events that came, in their order; those of repeated requests again."""
        return [event for request in self.requests for event in request.events]

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        """Return the events of one type."""
        return [event for event in self.events if event["type"] == type_]

    async def wait_for(self, condition: Callable[[], object]) -> None:
        """Return when the condition holds after some request."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not condition():
                await self._changed.wait()

    # Serving.

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._serve_one(stream, connection):
                connection.start_next_cycle()
        except (h11.RemoteProtocolError, h11.LocalProtocolError, trio.BrokenResourceError):
            pass  # a client that goes away in the middle is what some tests are about
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_one(self, stream: trio.abc.Stream, connection: h11.Connection) -> bool:
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        assert request is not None
        headers = {name.decode(): value.decode() for name, value in request.headers}
        received = Received(request.target.decode(), headers, bytes(body))
        fault = fault_of(received, self.secrets)
        if fault is not None:
            self.faults.append(fault)
        self.requests.append(received)
        reply = self.script.popleft() if self.script else self.answer(received)
        self._changed.set()
        self._changed = trio.Event()
        if reply.hangs:
            await trio.sleep_forever()
        if reply.garbage is not None:
            await stream.send_all(reply.garbage)
            return False
        fields = [*reply.headers, ("Content-Length", str(len(reply.body)))]
        data = connection.send(h11.Response(status_code=reply.status, headers=fields)) or b""
        data += connection.send(h11.Data(data=reply.body)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
        await stream.send_all(data)
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE


def fault_of(received: Received, secrets: Sequence[str]) -> str | None:
    """Return what is wrong with a request's signature, or None. Every one of the secrets must have signed it."""
    headers = received.headers
    try:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + received.body
        signatures = [text.split(",", 1) for text in headers["webhook-signature"].split(" ")]
    except (KeyError, ValueError) as error:
        return f"no signature: {error!r}"
    if "." in headers["webhook-id"]:
        return "a point in the id"
    if abs(time.time() - int(headers["webhook-timestamp"])) > TOLERANCE_SECONDS:
        return "too old or too new"
    if len(signatures) != len(secrets):
        return f"{len(signatures)} signatures"
    for secret in secrets:
        if not any(_is_good(secret, signed, version, base64.b64decode(text)) for version, text in signatures):
            return f"no good signature among {headers['webhook-signature']}"
    return None


def _is_good(secret: str, signed: bytes, version: str, signature: bytes) -> bool:
    prefix, _, text = secret.partition("_")
    key = base64.b64decode(text)
    if prefix == "whsec" and version == "v1":
        return hmac.compare_digest(hmac.new(key, signed, hashlib.sha256).digest(), signature)
    if prefix == "whpk" and version == "v1a":
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
        except InvalidSignature:
            return False
        return True
    return False


@asynccontextmanager
async def open_receiver(*secrets: str, port: int = 0) -> AsyncIterator[Receiver]:
    """Run a receiver. At the end every request must have had good signatures."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    receiver = Receiver(listeners[0].socket.getsockname()[1], secrets or (SECRET,))
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, receiver.serve, listeners)
        yield receiver
        nursery.cancel_scope.cancel()
    assert receiver.faults == []
