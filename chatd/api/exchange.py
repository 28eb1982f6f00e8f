"""Reading requests and writing answers: typed bodies and queries in, JSON out, and who it is that asks."""

from typing import Any, TypeVar

import msgspec
from quart import Response, request

from chatd.accounts.principal import Principal
from chatd.accounts.tokens import TokenError
from chatd.api.passage import passage_of
from chatd.api.problems import ApiError
from chatd.api.services import Services
from chatd.broker import Refused
from protocol.codes import ErrorCode

_S = TypeVar("_S", bound=msgspec.Struct)
_T = TypeVar("_T")

_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_encode = msgspec.json.Encoder().encode


async def read_body(kind: type[_S]) -> _S:
    """Return the request's JSON body as this type; an empty body counts as an empty object.

    Raises:
        ApiError: It is no JSON, or not of this type.
    """
    raw = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    decoder: msgspec.json.Decoder[_S] | None = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return decode_as(decoder, raw)


def decode_as(decoder: msgspec.json.Decoder[_S], raw: bytes) -> _S:
    """Return a request's JSON body as the decoder's type; an empty body counts as an empty object.

    Raises:
        ApiError: It is no JSON, or not of this type.
    """
    try:
        raw.decode()  # what is passed on unread, such as `data`, must be UTF-8 too
        return decoder.decode(raw or b"{}")
    except msgspec.ValidationError as error:
        raise ApiError(ErrorCode.BAD_REQUEST, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(ErrorCode.BAD_REQUEST, "the body is no JSON object") from error
    except RecursionError as error:
        raise ApiError(ErrorCode.BAD_REQUEST, "the body is nested too deeply") from error


def read_query(kind: type[_S]) -> _S:
    """Return the query's parameters as this type; those it does not have are ignored.

    Raises:
        ApiError: A parameter is missing or wrong.
    """
    given: dict[str, object] = {}
    for name, hint in zip(kind.__struct_fields__, _fields(kind), strict=True):
        values = request.args.getlist(name)
        if values:
            given[name] = values if isinstance(hint, msgspec.inspect.ListType) else values[-1]
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(ErrorCode.BAD_REQUEST, str(error)) from error


def _fields(kind: type[msgspec.Struct]) -> list[msgspec.inspect.Type]:
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    return [field.type for field in described.fields]


def json_response(value: object) -> Response:
    """Answer with this value as JSON."""
    return Response(_encode(value), 200, {"Content-Type": "application/json", "Cache-Control": "no-store"})


def nothing() -> Response:
    """Answer that it is done and there is nothing to say."""
    return Response(b"", 204)


async def speaker(services: Services) -> Principal:
    """Return who asks, from the bearer token in the `Authorization` header, and count the request as this user's.

    Raises:
        TokenError: There is none, or it is not accepted.
        ApiError: The user asks too often.
    """
    principal = await services.tokens.verify(bearer())
    services.counters.auth_successes["token"] += 1
    standing = await services.user_rates.take(services.user_policy(), principal.user)
    passage_of(request.scope).standings.append(standing)
    if standing.wait:
        reason = "more requests of this user a second than the limits allow"
        raise ApiError(ErrorCode.RATE_LIMITED, reason, standing.wait)
    return principal


def bearer() -> str:
    """Return the token in the `Authorization` header.

    Raises:
        TokenError: There is none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenError(ErrorCode.BAD_TOKEN, "this needs a header `Authorization: Bearer TOKEN`")
    return token.strip()


def allowed(result: _T | Refused) -> _T:
    """Return the result, unless it is a refusal.

    Raises:
        ApiError: It is.
    """
    if isinstance(result, Refused):
        raise ApiError(result.code, result.reason, result.retry_after)
    return result


def client_address() -> str:
    """Return the address that the request came from."""
    return request.remote_addr or ""
