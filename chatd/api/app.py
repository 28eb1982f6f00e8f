"""The HTTP app: every route, and one shape for every error."""

from collections.abc import Mapping
from pathlib import Path

import structlog
from quart import Response, request
from quart_schema import HttpSecurityScheme, Info, QuartSchema
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

import web
from chatd import __version__
from chatd.accounts.errors import AccountError
from chatd.accounts.tokens import TokenError
from chatd.api.deprecation import DEPRECATED, Deprecation, announce
from chatd.api.docs import document_routes
from chatd.api.health import health_routes
from chatd.api.pages import page_routes
from chatd.api.problems import ApiError, code_of_status, problem, problem_of, problem_response
from chatd.api.server.routes import server_routes
from chatd.api.services import Services
from chatd.api.v1.auth import AUTH_BLUEPRINT, auth_routes
from chatd.api.v1.channels import channel_routes
from chatd.api.v1.preferences import preference_routes
from chatd.api.v1.presence import presence_routes
from chatd.api.v1.push import push_routes
from chatd.api.v1.users import user_routes
from chatd.api.websocket_hint import websocket_hint
from chatd.broker.logs import TooManyChannels
from chatd.config import Limits
from chatd.counters import Counters
from chatd.rights import Denied
from protocol.codes import ErrorCode
from storage import StoreError

_log = structlog.get_logger()


def build_app(
    services: Services, pages: Path | None = None, deprecated: Mapping[str, Deprecation] = DEPRECATED
) -> QuartTrio:
    """Make the app. `pages` is the folder of the web app, the package `web` unless given."""
    app = QuartTrio("chatd", static_folder=None)
    app.url_map.merge_slashes = False
    bound_bodies(app, services.config.limits)
    app.config["RESPONSE_TIMEOUT"] = services.config.websocket.stall_seconds
    schema = QuartSchema(
        app,
        openapi_path=None,
        info=Info(title="chatd", version=__version__, summary="Real-time messaging and presence"),
        security_schemes={
            "bearer": HttpSecurityScheme(scheme="bearer", bearer_format="JWT"),
            "key": HttpSecurityScheme(scheme="bearer", bearer_format="chatd_key_ID_SECRET"),
        },
        conversion_preference="msgspec",
    )
    for routes in (
        auth_routes(services),
        user_routes(services),
        channel_routes(services),
        presence_routes(services),
        push_routes(services),
        preference_routes(services),
        *server_routes(services),
        health_routes(services),
        websocket_hint(services.config.websocket.path),
        page_routes(pages or Path(web.__file__).parent),
        document_routes(schema),
    ):
        app.register_blueprint(routes)
    _register_errors(app, services.counters)
    app.after_request(_harden)
    app.after_request(announce(deprecated))
    if services.config.server.tls.certificate:
        app.after_request(_demand_tls)
    return app


def bound_bodies(app: QuartTrio, limits: Limits) -> None:
    """Hold the bodies of requests that begin from now on to these limits."""
    app.config["MAX_CONTENT_LENGTH"] = limits.http_body_bytes
    app.config["BODY_TIMEOUT"] = limits.http_body_seconds


async def _harden(response: Response) -> Response:
    """Add what keeps browsers from guessing, framing and leaking."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return response


async def _demand_tls(response: Response) -> Response:
    """Let browsers that came by TLS never come without it again (RFC 6797)."""
    response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


def _register_errors(app: QuartTrio, counters: Counters) -> None:
    @app.errorhandler(ApiError)
    @app.errorhandler(AccountError)
    @app.errorhandler(TokenError)
    @app.errorhandler(Denied)
    @app.errorhandler(StoreError)
    @app.errorhandler(TooManyChannels)
    async def on_refused(error: Exception) -> Response:
        is_login = isinstance(error, AccountError) and request.blueprint == AUTH_BLUEPRINT
        if (is_login and isinstance(error, AccountError)) or isinstance(error, TokenError):
            counters.auth_failures[error.code.name.lower()] += 1
        if isinstance(error, StoreError):
            _log.warning("store failed a request", error=str(error))
        described = problem_of(error)
        return problem_response(described) if described is not None else await on_fault(error)

    @app.errorhandler(HTTPException)
    async def on_http_error(error: HTTPException) -> Response:
        status = error.code or 500
        response = problem_response(problem(code_of_status(status), error.description or "", status=status))
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def on_fault(error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return problem_response(problem(ErrorCode.INTERNAL, "a fault in chatd; it is in its log"))
