"""What a Chromium asks Google for when a page subscribes to pushes, so that a test needs no Google.

Three things, named by switches of Chromium (google_apis/gcm/engine/gservices_switches.cc): a check-in that makes up a
device (`--gcm-checkin-url`), a registration that makes up a token (`--gcm-registration-url`), and a connection over TLS
through which messages come (`--gcm-mcs-endpoint`, google_apis/gcm/protocol/mcs.proto).
"""

import http.server
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs

_PATIENCE_SECONDS = 20.0
_VERSION = 41
_LOGIN_RESPONSE, _DATA_MESSAGE = 3, 8
_PAGE = b"<!doctype html><title>push</title>"
_WORKER = b"""
const tell = text => fetch("/got", {method: "POST", body: text});
self.addEventListener("push", event => event.waitUntil(tell(event.data.text())));
"""


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _fixed(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + value.to_bytes(8, "little")


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


class GoogleCloudMessaging:
    """Serves one browser, in threads: a page with a service worker too, which posts here what it was pushed."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.registrations: list[dict[str, str]] = []
        self.got: list[str] = []
        self.trouble = "the browser did not connect"
        self.changed = threading.Condition()
        self._connection: ssl.SSLSocket | None = None
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.arguments = (
            f"--gcm-checkin-url={self.url}/checkin",
            f"--gcm-registration-url={self.url}/register",
            f"--gcm-mcs-endpoint=https://127.0.0.1:{self._listener.getsockname()[1]}/",
            "--ignore-certificate-errors",
        )
        for run in (self._http.serve_forever, self._accept):
            threading.Thread(target=run, daemon=True).start()

    def close(self) -> None:
        """Serve no more."""
        self._http.shutdown()
        self._http.server_close()
        self._listener.close()

    def push(self, encrypted: bytes) -> None:
        """Send what a push service would after a POST with this body and the content coding aes128gcm."""
        # Other parts of the browser register too; pages are called wp:ORIGIN#ID.
        asked = next(form for form in self.registrations if form.get("X-subtype", "").startswith("wp:"))
        stanza = _bytes(3, asked["sender"].encode()) + _bytes(5, asked["app"].encode())
        for name, value in (("subtype", asked["X-subtype"]), ("content-encoding", "aes128gcm")):
            stanza += _bytes(7, _bytes(1, name.encode()) + _bytes(2, value.encode()))
        stanza += _bytes(9, b"1:1") + _bytes(21, encrypted)
        with self.changed:
            assert self.changed.wait_for(lambda: self._connection is not None, _PATIENCE_SECONDS), self.trouble
        assert self._connection is not None
        self._connection.sendall(bytes([_DATA_MESSAGE]) + _varint(len(stanza)) + stanza)

    def wait(self, count: int, seconds: float) -> bool:
        """Wait until the service worker has posted so much."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.got) >= count, seconds)

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
                connection = self._tls.wrap_socket(plain, server_side=True)
            except ssl.SSLError as error:
                self.trouble = str(error)
                continue
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: ssl.SSLSocket) -> None:
        """Answer the login; what the browser says after that (acknowledgements, heartbeats) need not be answered."""
        with connection, suppress(OSError):
            if connection.recv(65_536):
                login = _bytes(1, b"chrome") + _number(8, 1)
                connection.sendall(bytes([_VERSION, _LOGIN_RESPONSE]) + _varint(len(login)) + login)
                with self.changed:
                    self._connection = connection
                    self.changed.notify_all()
            while connection.recv(65_536):
                pass

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_worker = self.path == "/worker.js"
                self.reply(_WORKER if is_worker else _PAGE, "text/javascript" if is_worker else "text/html")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.path == "/checkin":
                    self.reply(_number(1, 1) + _fixed(7, 1234) + _fixed(8, 5678), "application/x-protobuf")
                elif self.path == "/register":
                    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                    service.registrations.append(form)
                    self.reply(b"token=made-up-token", "text/plain")
                else:
                    with service.changed:
                        service.got.append(body.decode())
                        service.changed.notify_all()
                    self.reply(b"", "text/plain")

            def reply(self, body: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
