"""`/openapi.json`, and the same as a page that needs no script and no other host, and as a collection for Postman."""

from html import escape
from typing import Any

import msgspec
from quart import Blueprint, Response, current_app
from quart_schema import QuartSchema, hide

from chatd.api.openapi import complete, models_of
from chatd.api.pages import CONTENT_SECURITY_POLICY
from chatd.api.postman import collection
from protocol.codes import ErrorCode, may_retry

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem } h3 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 0 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 }
code, pre { font: .9rem ui-monospace, monospace } p { margin: .3rem 0 } tr { border-bottom: 1px solid #8884 }
:root { color-scheme: light dark }
"""
STYLE_PATH = "/docs.css"


def document_routes(schema: QuartSchema) -> Blueprint:
    """Make the routes of the reference. Both are written on the first request and kept."""
    routes = Blueprint("docs", __name__)
    kept: dict[str, bytes] = {}

    def openapi() -> dict[str, Any]:
        return complete(schema.openapi_provider.schema(), models_of(current_app))

    @routes.get("/openapi.json")
    @hide
    async def as_json() -> Response:
        if "json" not in kept:
            kept["json"] = msgspec.json.encode(openapi())
        return Response(kept["json"], 200, {"Content-Type": "application/json", "Cache-Control": "no-cache"})

    @routes.get("/postman.json")
    @hide
    async def as_collection() -> Response:
        if "postman" not in kept:
            kept["postman"] = msgspec.json.encode(collection(openapi()))
        return Response(kept["postman"], 200, {"Content-Type": "application/json", "Cache-Control": "no-cache"})

    @routes.get("/docs")
    @hide
    async def as_page() -> Response:
        if "page" not in kept:
            kept["page"] = _page(openapi()).encode()
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return Response(kept["page"], 200, headers)

    @routes.get(STYLE_PATH)
    @hide
    async def style() -> Response:
        return Response(_STYLE, 200, {"Content-Type": "text/css; charset=utf-8"})

    return routes


def _page(openapi: dict[str, Any]) -> str:
    title = escape(f"{openapi['info']['title']} {openapi['info']['version']}")
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    objects = openapi["components"]["schemas"] | _titled(openapi["paths"])
    schemas = "".join(_schema(name, schema) for name, schema in sorted(objects.items()))
    errors = "".join(
        f'<tr id="error-{code.value}"><td><code>{code.value}</code><td>{escape(code.name.lower().replace("_", " "))}'
        f"<td>{'try again later' if may_retry(code) else 'do not repeat it as it is'}</tr>"
        for code in ErrorCode
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="{STYLE_PATH}">'
        f'<h1>{title}</h1><p>The HTTP side, from <a href="/openapi.json">openapi.json</a>; '
        '<a href="/postman.json">postman.json</a> is the same for Postman. '
        "Times are Unix milliseconds; errors are problem details (RFC 9457).</p>"
        f"<h2>Requests</h2>{operations}<h2>Objects</h2>{schemas}"
        f"<h2>Error codes</h2><table>{errors}</table></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}<td>{_type(one['schema'])}</tr>"
        for one in operation["parameters"]
    ]
    if "requestBody" in operation:
        rows.append(f"<tr><td>body<td><td>{_content(operation['requestBody'])}</tr>")
    rows += [
        f"<tr><td>answer {escape(str(status))}<td><td>{_content(answer)}</tr>"
        for status, answer in operation["responses"].items()
    ]
    schemes = {name for one in operation.get("security", ()) for name in one}
    needs = "<p>Needs an API key, or the token of a person with a role.</p>" if "key" in schemes else ""
    if schemes == {"bearer"}:
        needs = "<p>Needs a bearer token.</p>"
    return (
        f"<h3>{method.upper()} {escape(path)}</h3><p>{escape(operation.get('summary', ''))}</p>{needs}"
        f"<table>{''.join(rows)}</table>"
    )


def _titled(part: Any) -> dict[str, Any]:
    """Return the objects that stand where they are used, and not among the components, by their titles."""
    if isinstance(part, list):
        part = dict(enumerate(part))
    if not isinstance(part, dict):
        return {}
    found = {part["title"]: part} if part.get("type") == "object" and isinstance(part.get("title"), str) else {}
    for inner in part.values():
        found |= _titled(inner)
    return found


def _content(body: dict[str, Any]) -> str:
    kinds = body.get("content")
    return " or ".join(_type(kind["schema"]) for kind in kinds.values()) if kinds else "nothing"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{'' if field in required else 'optional'}<td>{_type(kind)}"
        f"<td>{escape(kind.get('description', ''))}</tr>"
        for field, kind in schema.get("properties", {}).items()
    )
    about = escape(schema.get("description", ""))
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{about}</p><table>{rows}</table>'


def _type(schema: dict[str, Any]) -> str:
    """Name a JSON schema in a word or two."""
    if "$ref" in schema or ("title" in schema and schema.get("type") == "object"):
        name = escape(str(schema.get("$ref") or schema["title"]).rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("type", "anything")))
