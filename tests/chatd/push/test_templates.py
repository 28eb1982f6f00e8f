"""What a push says, by language and namespace."""

from pathlib import Path

import pytest

from chatd.config import ConfigError
from chatd.push.templates import SHIPPED, load_templates
from tests.chatd.push.contents import content


@pytest.mark.parametrize(
    ("locale", "channel", "data", "said"),
    [
        ("en", "dm:alice:bob", {"text": "hi"}, ("alice", "hi")),
        ("", "dm:alice:bob", {"text": "hi"}, ("alice", "hi")),
        ("xx-YY", "group:tea", {"text": "hi"}, ("alice in tea", "hi")),
        ("fr-CA", "group:tea", {}, ("alice dans tea", "Nouveau message")),
        ("DE", "dm:alice:bob", {"push": {"kind": "voip"}}, ("alice", "Anruf")),
        ("de-Latn-AT", "dm:alice:bob", {"text": "{sender} {text}"}, ("alice", "{sender} {text}")),
    ],
)
def test_the_shipped_texts(locale: str, channel: str, data: object, said: tuple[str, str]) -> None:
    assert load_templates(SHIPPED).render(content(data, channel=channel), locale) == said


def test_what_a_backend_says_counts_before_the_texts() -> None:
    data = {"text": "hi", "push": {"title": "Order 7", "body": "is on its way"}}
    found = content(data, by_backends=True)
    assert load_templates(SHIPPED).render(found, "en") == ("Order 7", "is on its way")


def test_own_texts_replace_the_shipped_ones(tmp_path: Path) -> None:
    file = tmp_path / "texts.toml"
    file.write_text('[en]\nbody = "secret"\n[en.dm]\ntitle = "from {sender}"\n', "utf-8")
    assert load_templates(file).render(content({"text": "hi"}), "de") == ("from alice", "secret")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"no \[en\]"),
        ("en = 1", "no table"),
        ("[en]\ntitel = 'x'", "titel"),
        ("[en]\ntitle = '{password}'", r"\{password\} is nothing"),
        ("[en.dm]\nbody = 1", r"en\.dm"),
        ("[", r"texts\.toml"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "texts.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=reason):
        load_templates(file)
