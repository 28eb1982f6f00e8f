"""Backends that are asked first: `[hooks]`."""

from typing import Literal

from chatd.config.section import Count, Seconds, Section


class Hook(Section, frozen=True, kw_only=True):
    """A backend that is asked before something is done; without a URL nobody is."""

    url: str = ""
    namespaces: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()
    deadline_seconds: Seconds = 1.0
    on_failure: Literal["allow", "deny"] = "deny"
    concurrency: Count = 32
    waiting: Count = 256
    failures: Count = 5
    rest_seconds: Seconds = 5.0
    answer_bytes: Count = 65_536
    allow_private: bool = False


class Hooks(Section, frozen=True, kw_only=True):
    """What a backend is asked about."""

    connect: Hook = Hook()
    subscribe: Hook = Hook()
    send: Hook = Hook()
