"""How many pushes a second one core hands over: by each provider alone, and by the whole worker over a SQLite queue.

Run `python -m bench.pushes`. The service is a process of its own that takes everything; what is counted is the CPU time
of this process, so the figure is what a core that does nothing else would do.
"""

import base64
import datetime
import ipaddress
import random
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatd.config import Push
from chatd.push import Delivered, Notification, Provider
from chatd.push.apns import Apns
from chatd.push.apns_token import ApnsToken
from chatd.push.content import Content
from chatd.push.counts import PushCounts
from chatd.push.examiner import Examiner
from chatd.push.h2_client import H2Bounds, tls_context
from chatd.push.http import Http
from chatd.push.jobs import Plan, plan_job
from chatd.push.templates import SHIPPED, load_templates
from chatd.push.vapid import Vapid
from chatd.push.webpush import WebPush
from chatd.push.whereabouts import Nobody
from chatd.push.worker import PushWorker
from protocol.body import json_body
from protocol.names import ChannelName, DeviceId, Epoch, Seq, UserId
from storage import append
from storage.moving import Table
from storage.records import MemberRecord, PreferenceRecord, PushTokenRecord, ReadMark, Role, StoredMessage
from storage.sqlite import SqliteStore, open_sqlite

_PUSHES = 5000
_AT_ONCE = 500

# Conversations of each user, all with something unread: what the number on the icon is counted in.
_CONVERSATIONS = 20
_KEY = ec.generate_private_key(ec.SECP256R1())


def _certificate(folder: Path) -> tuple[Path, Path]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    hour = datetime.timedelta(hours=1)
    builder = x509.CertificateBuilder(name, name, _KEY.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - hour).not_valid_after(now + hour)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(builder.sign(_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(_KEY.private_bytes(*pem))
    return certificate, key


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _token(provider: str, number: int, port: int) -> PushTokenRecord:
    point = _KEY.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    is_web = provider == "webpush"
    return PushTokenRecord(
        user=UserId(f"user-{number}"),
        device=DeviceId(f"device-{number}"),
        provider="webpush" if is_web else "apns",
        token=f"https://localhost:{port}/push/{number}" if is_web else f"{number:064x}",
        details={"p256dh": _text(point), "auth": _text(b"a" * 16)} if is_web else {},
        locale="en",
        created_at=0,
    )


def _notification(number: int) -> Notification:
    return Notification(
        id=f"dm:alice:bob/e/{number}",
        title="alice",
        body="x" * 100,
        badge=3,
        thread="dm:alice:bob",
        expires_at=int(time.time()) + 3600,
        data={"channel": "dm:alice:bob", "epoch": "abcdefgh", "seq": str(number), "sender": "alice"},
    )


async def _measure(name: str, work: Callable[[], Awaitable[None]]) -> None:
    cpu, clock = time.process_time(), time.monotonic()
    await work()
    used, took = time.process_time() - cpu, time.monotonic() - clock
    print(f"{name:<44}{_PUSHES / used:>8.0f} a core{used / _PUSHES * 1e6:>8.0f} µs{_PUSHES / took:>8.0f}/s seen")


async def _provider(name: str, provider: Provider, port: int) -> None:
    """Hand over from many tasks at once, as the worker does."""
    kind = name.split()[0]
    work = iter([(_notification(number), _token(kind, number, port)) for number in range(_PUSHES)])

    async def send() -> None:
        for notification, token in work:
            outcome = await provider.send(notification, token)
            assert outcome == Delivered(), outcome

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(_AT_ONCE):
                nursery.start_soon(send)

    await _measure(name, all_of_them)


async def _worker(name: str, provider: Provider, port: int, folder: Path, *, badges: bool) -> None:
    """Work plans of one user each: from the queue, through all decisions, to the service, and out of the queue."""
    config = Push(badges=badges, at_once=_AT_ONCE, poll_seconds=0.01)
    counts, now = PushCounts(), int(time.time() * 1000)
    async with open_sqlite(folder / f"{badges}.sqlite3") as store:
        await _people(store, port)
        for start in range(0, _PUSHES, 500):
            plans = [_plan(number, now) for number in range(start, start + 500)]
            await store.jobs.put([plan_job(plan, 0, now) for plan in plans], now=now)
        examiner = Examiner(config, store, Nobody(), lambda _: True)
        worker = PushWorker(
            config,
            store,
            store.jobs,
            examiner,
            {"apns": provider},
            load_templates(SHIPPED),
            counts,
            None,
            time.time,
            random.random,
        )

        async def until_done() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.run)
                while counts.ends["pushed"] < _PUSHES:  # noqa: ASYNC110 - the worker tells nobody when it is done
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()

        await _measure(name, until_done)


async def _people(store: SqliteStore, port: int) -> None:
    """Give users a device and conversations with messages, a mark of how far they have read, and a wish each."""
    for start in range(0, _PUSHES, _AT_ONCE):
        numbers = range(start, start + _AT_ONCE)
        users = [UserId(f"user-{number}") for number in numbers]
        await store.load(Table.PUSH_TOKENS, [_token("apns", number, port) for number in numbers])
        wishes = [PreferenceRecord(user=user, channel=ChannelName(""), values={"locale": '"en"'}) for user in users]
        await store.load(Table.PREFERENCES, wishes)
        for each in range(_CONVERSATIONS):
            names = [ChannelName(f"dm:{'alice' if each == 0 else f'friend-{each}'}:{user}") for user in users]
            messages = [_message(name, seq) for name in names for seq in (1, 2)]
            await append(store, messages)
            members = [
                MemberRecord(channel=name, user=user, role=Role.MEMBER, joined_at=1)
                for name, user in zip(names, users, strict=True)
            ]
            await store.load(Table.MEMBERS, members)
            marks = [
                ReadMark(user=user, channel=name, seq=Seq(1), at=1) for name, user in zip(names, users, strict=True)
            ]
            await store.save_read_marks(marks)


def _message(channel: ChannelName, seq: int) -> StoredMessage:
    return StoredMessage(
        channel=channel,
        seq=Seq(seq),
        epoch=Epoch("abcdefgh"),
        sender=UserId("alice"),
        key="",
        at=1,
        kind="",
        body=json_body({"text": "hi"}),
    )


def _plan(number: int, now: int) -> Plan:
    content = Content(
        channel=ChannelName(f"dm:alice:user-{number}"),
        epoch="abcdefgh",
        seq=Seq(2),
        sender=UserId("alice"),
        at=now,
        expires_at=now + 3_600_000,
        text="x" * 100,
    )
    return Plan(content, [UserId(f"user-{number}")])


async def _main(folder: Path, port: int, tls: ssl.SSLContext) -> None:
    http = Http(tls, H2Bounds(connections=2, streams=_AT_ONCE), 8)
    url = f"https://localhost:{port}"
    apns = Apns(ApnsToken(_KEY, "ABC1234567", "TEAM123456", time.time), http, time.time, "org.example.chat", url, url)
    webpush = WebPush(Vapid(_KEY, "mailto:ops@example.org", time.time), http, time.time, [f"localhost:{port}"])
    async with trio.open_nursery() as nursery:
        await nursery.start(http.run)
        await _provider("apns", apns, port)
        await _provider("webpush (encrypted)", webpush, port)
        await _worker("apns, with queue and decisions, no badge", apns, port, folder, badges=False)
        await _worker("apns, with queue and decisions, and badge", apns, port, folder, badges=True)
        print(f"{http.connections} connections")
        nursery.cancel_scope.cancel()


def main() -> None:
    """Start the service and measure."""
    with tempfile.TemporaryDirectory() as name:
        certificate, key = _certificate(Path(name))
        command = [sys.executable, "-m", "bench.push_sink", str(certificate), str(key)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
            assert sink.stdout is not None
            try:
                tls = tls_context()
                tls.load_verify_locations(certificate)
                trio.run(_main, Path(name), int(sink.stdout.readline()), tls)
            finally:
                sink.kill()


if __name__ == "__main__":
    main()
