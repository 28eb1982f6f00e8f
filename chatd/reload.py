"""Taking over a changed configuration while the node runs: what can change does, and what cannot is said."""

import msgspec

from chatd.config import Config
from chatd.settings import RELOADABLE, Settings


def changed_keys(old: Config, new: Config) -> list[str]:
    """Return the dotted names of every key whose value differs."""
    return _differences(msgspec.to_builtins(old), msgspec.to_builtins(new), "")


def _differences(old: object, new: object, name: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            difference
            for key in sorted(old.keys() | new.keys())
            for difference in _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if old == new else [name]


def apply(settings: Settings, new: Config) -> tuple[list[str], list[str]]:
    """Take over what can change now; return the keys that did, and those that need a restart."""
    keys = changed_keys(settings.config, new)
    applied = [key for key in keys if key.partition(".")[0] in RELOADABLE]
    refused = [key for key in keys if key not in applied]
    settings.replace(
        msgspec.structs.replace(settings.config, **{section: getattr(new, section) for section in RELOADABLE})
    )
    return applied, refused
