"""A push service that takes everything over HTTP/2; the other side of `python -m bench.pushes`."""

import ssl
import sys
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import trio

_READ_BYTES = 65_536
_CONFIG = h2.config.H2Configuration(client_side=False, header_encoding=None)


async def _serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
    """Answer every request with 201, all requests of one read in one write."""
    connection = h2.connection.H2Connection(_CONFIG)
    limits = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1000}
    connection.local_settings = h2.settings.Settings(client=False, initial_values=limits)
    connection.initiate_connection()
    await stream.send_all(connection.data_to_send())
    while data := await stream.receive_some(_READ_BYTES):
        for event in connection.receive_data(bytes(data)):
            if isinstance(event, h2.events.DataReceived) and event.stream_id is not None:
                connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded) and event.stream_id is not None:
                connection.send_headers(event.stream_id, [(b":status", b"200")], end_stream=True)
        await stream.send_all(connection.data_to_send())


async def _main(certificate: Path, key: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.set_alpn_protocols(["h2"])
    listeners = await trio.open_ssl_over_tcp_listeners(0, tls, host="127.0.0.1", https_compatible=True)
    print(listeners[0].transport_listener.socket.getsockname()[1], flush=True)  # type: ignore[attr-defined]

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await _serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    await trio.serve_listeners(serve, listeners)


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]), Path(sys.argv[2]))
