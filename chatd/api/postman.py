"""`/postman.json`: the same description as a collection for Postman (format 2.1), and for programs that read it too."""

from collections import defaultdict
from typing import Any

import msgspec

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"

_MOST_DEPTH = 6


def collection(openapi: dict[str, Any]) -> dict[str, Any]:
    """Make the collection: a folder for each tag, a request for each operation, bodies from their schemas.

    Its variables are where the server is, the access token of a user, and the API key of a backend.
    """
    folders: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            for folder in operation.get("tags", ["other"]):
                folders[folder].append(_item(openapi, path, method, operation))
    return {
        "info": {"name": f"chatd {openapi['info']['version']}", "schema": SCHEMA},
        "variable": [
            {"key": "baseUrl", "value": "http://127.0.0.1:8000"},
            {"key": "token", "value": ""},
            {"key": "key", "value": ""},
        ],
        "item": [{"name": name, "item": items} for name, items in sorted(folders.items())],
    }


def _item(openapi: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    parts = [f":{part[1:-1]}" if part.startswith("{") else part for part in path.strip("/").split("/")]
    parameters = operation["parameters"]
    query = [_named(one, disabled=not one.get("required")) for one in parameters if one["in"] == "query"]
    request: dict[str, Any] = {
        "method": method.upper(),
        "header": [_named(one, disabled=True) for one in parameters if one["in"] == "header"],
        "url": {
            "raw": "{{baseUrl}}/" + "/".join(parts),
            "host": ["{{baseUrl}}"],
            "path": parts,
            "query": query,
            "variable": [_named(one) for one in parameters if one["in"] == "path"],
        },
        "description": operation.get("summary", ""),
    }
    schemes = [name for one in operation.get("security", []) for name in one]
    if schemes:
        value = "{{key}}" if "key" in schemes else "{{token}}"
        request["auth"] = {"type": "bearer", "bearer": [{"key": "token", "value": value, "type": "string"}]}
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        request["header"].append({"key": "Content-Type", "value": "application/json"})
        request["body"] = {"mode": "raw", "raw": _text(_example(openapi, schema, 0))}
    return {"name": operation.get("summary") or f"{method.upper()} {path}", "request": request}


def _named(parameter: dict[str, Any], *, disabled: bool = False) -> dict[str, Any]:
    named = {"key": parameter["name"], "value": "", "description": parameter.get("schema", {}).get("description", "")}
    return {**named, "disabled": True} if disabled else named


def _text(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _example(openapi: dict[str, Any], schema: dict[str, Any], depth: int) -> Any:
    """Make a value of a schema: of an object what it must have, of a choice the first."""
    if depth > _MOST_DEPTH:
        return None
    if "$ref" in schema:
        return _example(openapi, openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]], depth + 1)
    if "anyOf" in schema:
        return _example(openapi, schema["anyOf"][0], depth + 1)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            required = schema.get("required", ())
            fields = schema.get("properties", {})
            return {name: _example(openapi, fields[name], depth + 1) for name in fields if name in required}
        case "array":
            return [_example(openapi, schema["items"], depth + 1)] if schema.get("minItems") else []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case "string":
            return ""
        case _:
            return None
