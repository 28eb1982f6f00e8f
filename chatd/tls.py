"""TLS over a link: an `ssl.SSLObject` between two memory buffers, so that sends still never wait."""

import socket
import ssl
from contextlib import suppress
from pathlib import Path

from chatd.config import ConfigError, Tls
from chatd.link import READ_BYTES, Link
from chatd.poller import Poller

ALPN = ("h2", "http/1.1")


def server_context(tls: Tls) -> ssl.SSLContext | None:
    """Make the TLS context of the public port; None when TLS is off.

    Raises:
        ConfigError: A file cannot be read or is no certificate or key, or they do not belong together.
    """
    if not tls.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    # A session lives for hours; an idle one should not hold OpenSSL's two buffers of 16 KiB.
    context.options |= ssl.OP_NO_COMPRESSION | getattr(ssl, "OP_NO_RENEGOTIATION", 0)
    for name, path in (("certificate", tls.certificate), ("key", tls.key)):
        try:
            Path(path).read_bytes()  # OpenSSL does not say which of the two it could not read
        except OSError as error:
            raise ConfigError(f"server.tls.{name}: {path}: {error.strerror or error}") from error
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = "they do not belong together" if "MISMATCH" in str(error) else "not a PEM chain and its plain PEM key"
        raise ConfigError(f"server.tls: {tls.certificate} and {tls.key}: {reason}") from error
    return context


def _no_password() -> str:
    """Refuse a key that is encrypted; OpenSSL would ask the terminal, and wait."""
    raise ValueError("the key is encrypted")


class TlsLink(Link):
    """A TLS connection.

    `send` takes all of the plain text or none of it. What it took but the socket refused waits here as cipher text,
    never more than one call's worth: until it is gone, `send` takes nothing, and the session queues as it does for a
    plain socket that is full.
    """

    can_read_nowait = False

    __slots__ = ("_cipher", "_incoming", "_outgoing", "_raw_send", "_ssl")

    def __init__(self, sock: socket.socket, address: str, poller: Poller, context: ssl.SSLContext) -> None:
        super().__init__(sock, address, poller)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._cipher = memoryview(b"")
        self._raw_send = sock.send
        self.send = self._send_tls
        self.ring_head = None

    async def handshake(self) -> str:
        """Shake hands; return the ALPN protocol.

        Raises:
            ssl.SSLError: The other side does not speak TLS as we do.
            OSError: It went away.
        """
        while True:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush_all()
                data = await super().receive()
                if not data:
                    raise ConnectionResetError("the client left during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                self._flush()  # the alert that says why, as far as the socket takes it
                raise
            else:
                await self._flush_all()
                return self._ssl.selected_alpn_protocol() or "http/1.1"

    async def send_all(self, data: bytes) -> None:
        """Send everything, and wait until the socket has it: what follows may be the end of the connection."""
        await super().send_all(data)
        await self._flush_all()

    async def receive(self) -> bytes:
        """Return the next decrypted bytes; empty at the end, or when the cipher text is broken."""
        while True:
            try:
                return self._ssl.read(READ_BYTES)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return b""
            self._flush()  # answers of TLS itself, such as a key update
            data = await super().receive()
            if not data:
                return b""
            self._incoming.write(data)

    def shut(self) -> None:
        """Say goodbye in TLS if the socket takes it, and end both directions."""
        with suppress(ssl.SSLError):
            self._ssl.unwrap()
        self._flush()
        super().shut()

    def _send_tls(self, data: bytes | memoryview) -> int:
        if self._cipher and not self._flush():
            raise BlockingIOError
        self._ssl.write(data)
        if not self._flush() and self.on_writable is None:
            self.on_writable = self._push
        return len(data)

    def quiet(self) -> None:
        """Stop telling the owner that the socket is writable; what TLS still has to send goes on by itself."""
        self.on_writable = self._push if self._cipher else None

    def _push(self) -> None:
        if self._flush():
            self.on_writable = None

    def _flush(self) -> bool:
        """Send waiting cipher text; tell whether it is all gone. If not, `on_writable` goes on with it first."""
        if self._outgoing.pending:
            self._cipher = memoryview(bytes(self._cipher) + self._outgoing.read())
        while self._cipher:
            try:
                self._cipher = self._cipher[self._raw_send(self._cipher) :]
            except BlockingIOError:
                return False
            except OSError:
                self._cipher = memoryview(b"")  # the reader finds the broken connection
        return True

    async def _flush_all(self) -> None:
        while not self._flush():
            await self._writable()
