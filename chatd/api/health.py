"""`/healthz`, `/readyz` and `/metrics`: for those who run the node."""

import trio
from quart import Blueprint, Response
from quart_schema import document_response, tag

from chatd.api.exchange import client_address
from chatd.api.problems import Problem, problem, problem_response
from chatd.api.services import Services
from chatd.networks import Networks
from protocol.codes import ErrorCode
from storage import StoreError

CHECK_SECONDS = 2.0


def health_routes(services: Services) -> Blueprint:
    """Make the routes for orchestrators and Prometheus."""
    routes = Blueprint("health", __name__)
    allowed = services.config.server.metrics_from
    for_everybody = "*" in allowed
    readers = Networks(text for text in allowed if text != "*")

    @routes.get("/healthz")
    @tag(["operation"])
    async def alive() -> Response:
        """Say that the process is alive; if this does not answer, restart it."""
        return _text("alive")

    @routes.get("/readyz")
    @tag(["operation"])
    @document_response(Problem, 503)
    async def ready() -> Response:
        """Say whether the node should get clients: its store and Redis answer and it is not leaving."""
        reason = services.realtime.not_ready()
        if reason is not None:
            return problem_response(problem(reason.code, reason.reason))
        try:
            with trio.fail_after(CHECK_SECONDS):
                await services.store.check()
        except (StoreError, trio.TooSlowError):
            return problem_response(problem(ErrorCode.UNAVAILABLE, "the store does not answer"))
        return _text("ready")

    @routes.get("/metrics")
    @tag(["operation"])
    @document_response(Problem, 403)
    async def metrics() -> Response:
        """Give the numbers of this machine in Prometheus' text format, to addresses of `server.metrics_from`."""
        if not for_everybody and client_address() not in readers:
            return problem_response(problem(ErrorCode.FORBIDDEN, "server.metrics_from does not name your address"))
        content, content_type = await services.metrics()
        return Response(content, 200, {"Content-Type": content_type, "Cache-Control": "no-store"})

    return routes


def _text(text: str) -> Response:
    return Response(text + "\n", 200, {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"})
