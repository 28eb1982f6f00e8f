"""`/healthz`, `/readyz` and `/metrics`: for those who run the node."""

import trio
from quart import Blueprint, Response
from quart_schema import document_response, tag

from chatd.api.problems import Problem, problem, problem_response
from chatd.api.services import Services
from protocol.codes import ErrorCode
from storage import StoreError

CHECK_SECONDS = 2.0


def health_routes(services: Services) -> Blueprint:
    """Make the routes for orchestrators and Prometheus."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    @tag(["operation"])
    async def alive() -> Response:
        """Say that the process is alive; if this does not answer, restart it."""
        return _text("alive")

    @routes.get("/readyz")
    @tag(["operation"])
    @document_response(Problem, 503)
    async def ready() -> Response:
        """Say whether the node should get clients: its store answers and it is not leaving."""
        reason = services.realtime.not_ready()
        if reason is not None:
            return problem_response(problem(ErrorCode.DRAINING, reason))
        try:
            with trio.fail_after(CHECK_SECONDS):
                await services.store.check()
        except (StoreError, trio.TooSlowError):
            return problem_response(problem(ErrorCode.UNAVAILABLE, "the store does not answer"))
        return _text("ready")

    @routes.get("/metrics")
    @tag(["operation"])
    async def metrics() -> Response:
        """Give the numbers of this node in Prometheus' text format."""
        content, content_type = services.metrics()
        return Response(content, 200, {"Content-Type": content_type, "Cache-Control": "no-store"})

    return routes


def _text(text: str) -> Response:
    return Response(text + "\n", 200, {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"})
