"""The WebSocket's path, for those who come to it by plain HTTP."""

from quart import Blueprint, Response, request
from quart_schema import hide

from chatd.api.problems import problem, problem_response
from protocol.codes import ErrorCode


def websocket_hint(path: str) -> Blueprint:
    """Make a route that says how to open the WebSocket.

    An upgrade only counts as the first request of its connection; whoever sends it later is told to try again on a
    new one, and the connection is closed.
    """
    routes = Blueprint("websocket", __name__)

    @routes.get(path)
    @hide
    async def hint() -> Response:
        reason = "open a WebSocket here, as the first request of an HTTP/1.1 connection"
        if request.http_version != "1.1":
            return problem_response(problem(ErrorCode.BAD_REQUEST, reason))
        response = problem_response(problem(ErrorCode.BAD_REQUEST, reason, status=426))
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "close"
        return response

    return routes
