"""Reloading: what can change does, what cannot is named, and every part that asked is told."""

import msgspec

from chatd.config import Config, Namespace
from chatd.reload import apply, changed_keys
from chatd.settings import Settings
from tests.rig.node import changed


def test_nothing_changed_is_nothing_named() -> None:
    assert changed_keys(Config(), Config()) == []
    assert apply(Settings(Config()), Config()) == ([], [])


def test_changed_keys_are_named_down_to_the_key() -> None:
    new = msgspec.structs.replace(
        changed("limits", fragments=1, cursors=2),
        server=msgspec.structs.replace(Config().server, tls=msgspec.structs.replace(Config().server.tls, key="k")),
    )
    assert changed_keys(Config(), new) == ["limits.cursors", "limits.fragments", "server.tls.key"]


def test_a_namespace_that_came_or_went_is_named_whole() -> None:
    names = dict(Config().namespaces)
    del names["area"]
    names["club"] = Namespace(echo=True)
    names["room"] = msgspec.structs.replace(names["room"], echo=False)
    new = msgspec.structs.replace(Config(), namespaces=names)
    assert changed_keys(Config(), new) == ["namespaces.area", "namespaces.club", "namespaces.room.echo"]


def test_what_can_change_is_in_force_and_the_rest_is_refused() -> None:
    settings = Settings(Config())
    told: list[Config] = []
    settings.on_replaced.append(told.append)
    new = msgspec.structs.replace(
        changed("limits", fragments=1),
        server=msgspec.structs.replace(Config().server, port=1),
        log=msgspec.structs.replace(Config().log, level="error"),
    )
    assert apply(settings, new) == (["limits.fragments", "log.level"], ["server.port"])
    assert (settings.limits.fragments, settings.config.limits.fragments) == (1, 1)
    assert settings.config.log.level == "error"
    assert settings.config.server.port == Config().server.port
    assert told == [settings.config]


def test_what_was_refused_is_named_again_until_it_is_changed_back() -> None:
    settings = Settings(Config())
    for _ in range(2):
        assert apply(settings, changed("server", port=1)) == ([], ["server.port"])
    assert apply(settings, Config()) == ([], [])
