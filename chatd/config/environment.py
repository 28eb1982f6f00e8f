"""Variables `CHATD_…` that count over the file.

`CHATD_LIMITS__OUTBOX_BYTES=1` sets `limits.outbox_bytes`; its value is read as TOML, or as text where it is no TOML or
where text is wanted.
"""

import tomllib
from typing import Any

from chatd.config.converting import shown, type_of
from chatd.config.section import ConfigError, Text

ENVIRONMENT_PREFIX = "CHATD_"


def override(tree: dict[str, Any], name: str, text: str) -> None:
    """Lay a variable over the tree of a file.

    Raises:
        ConfigError: Its name is of no key, or its value cannot be read.
    """
    *tables, key = path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    if not all(path):
        raise ConfigError(f"{shown(name)}: names no key")
    at = tree
    for table in tables:
        at = at.setdefault(table, {})
        if not isinstance(at, dict):
            raise ConfigError(f"{shown(name)}: {shown(table)} is not a table")
    try:
        text.encode()
        value = tomllib.loads(f"value = {text}")["value"]
        # Where text is wanted, what looks like a number or a date is text too.
        at[key] = text if type_of(path) in (str, Text) and not isinstance(value, str) else value
    except tomllib.TOMLDecodeError:
        at[key] = text
    except UnicodeEncodeError as error:
        raise ConfigError(f"{shown(name)}: is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{shown(name)}: {error}") from error
