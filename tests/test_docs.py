"""The reference says what the code says: every command, event, field, code, and every limit with its default."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from chatd.config import Config
from protocol import messages
from protocol.codes import CloseCode, ErrorCode

ROOT = Path(__file__).parent.parent
PROTOCOL = (ROOT / "docs/reference/protocol.md").read_text("utf-8")
GLOSSARY = (ROOT / "docs/glossary.md").read_text("utf-8")

ANSWERS = {
    messages.Connected: "connect",
    messages.Subscribed: "subscribe",
    messages.Sent: "send",
    messages.Refreshed: "refresh",
}
"""Answers that are described with their command, under another name than their own."""

PARTS = {
    messages.Resumed: "connect",
    messages.UserState: "presence",
    messages.Conversation: "channels",
}
"""What stands inside of an answer, and where it is described."""

WORDS = (
    "user", "device", "session", "channel", "namespace", "seq", "epoch", "cursor", "key", "node", "broker", "store",
)  # fmt: skip


def _tag(struct: type[msgspec.Struct]) -> str:
    return str(struct.__struct_config__.tag)


def _section(name: str) -> str:
    """Return the text under the heading of a command or event, up to the next heading."""
    match = re.search(rf"^### `{name}`\n(.*?)(?=^##|\Z)", PROTOCOL, re.MULTILINE | re.DOTALL)
    assert match, f"protocol.md has no section about `{name}`"
    return match[1]


def _fields(struct: type[msgspec.Struct]) -> list[str]:
    names = [field.encode_name for field in msgspec.structs.fields(struct)]
    return [name for name in names if name != "id" or struct is messages.Error]


def _is_described(field: str, section: str) -> bool:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section, re.MULTILINE)
    return any(f"`{field}`" in row for row in rows)


STRUCTS = [*get_args(messages.AnyCommand), *get_args(messages.AnyEvent)]


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_field_of_a_command_or_event_has_its_row_in_the_reference(struct: type[msgspec.Struct]) -> None:
    section = _section(ANSWERS.get(struct, _tag(struct)))
    assert f"`{_tag(struct)}`" in PROTOCOL
    assert [field for field in _fields(struct) if not _is_described(field, section)] == []


@pytest.mark.parametrize("struct", PARTS, ids=lambda struct: struct.__name__)
def test_every_field_inside_an_answer_is_named_where_the_answer_is(struct: type[msgspec.Struct]) -> None:
    section = _section(PARTS[struct])
    assert [field for field in _fields(struct) if f"`{field}`" not in section] == []


def test_the_reference_has_no_section_about_what_does_not_exist() -> None:
    sections = set(re.findall(r"^### `(\w+)`$", PROTOCOL, re.MULTILINE))
    assert sections - {_tag(struct) for struct in STRUCTS} == {"data"}


@pytest.mark.parametrize("code", [*ErrorCode, *CloseCode], ids=lambda code: f"{code.name}-{code.value}")
def test_every_code_is_in_the_tables_with_its_number(code: ErrorCode | CloseCode) -> None:
    assert f"\n| {code.value} | {code.name} | " in PROTOCOL


def test_the_tables_have_no_code_that_does_not_exist() -> None:
    rows = re.findall(r"^\| (\d{3,4}) \| (\w+) \|", PROTOCOL, re.MULTILINE)
    known = {(str(code.value), code.name) for code in [*ErrorCode, *CloseCode]}
    assert set(rows) - known == set()


def test_every_configured_value_is_told_as_it_is_shipped() -> None:
    defaults: Any = msgspec.to_builtins(Config())
    told = re.findall(r"`(server|limits|broker|presence|websocket)\.(\w+)`(?: = ([\d,.]+\d))?", PROTOCOL)
    assert told
    for table, key, value in told:
        assert key in defaults[table], f"{table}.{key} is no key of the configuration"
        if value:
            assert float(value.replace(",", "")) == defaults[table][key], f"{table}.{key}"


@pytest.mark.parametrize(("mark", "kind"), [(">", messages.AnyCommand), ("<", messages.AnyEvent)])
def test_every_line_of_the_worked_session_is_what_the_code_says(mark: str, kind: Any) -> None:
    lines = re.findall(rf"^{mark} (\{{.*\}})$", PROTOCOL, re.MULTILINE)
    assert len(lines) >= 7
    for line in lines:
        object_ = msgspec.json.decode(line, type=kind)
        said = {key for key, value in msgspec.json.decode(line).items() if value != ""}
        assert said <= {"type", *(field.encode_name for field in msgspec.structs.fields(object_))}, line


def test_every_shipped_namespace_is_in_the_table_of_channels() -> None:
    told = re.findall(r"^\| `(\w+):\S+` \|.*\| (member|subscribed) \| (none|recent|durable)", PROTOCOL, re.MULTILINE)
    shipped = {(name, space.delivery, space.history) for name, space in Config().namespaces.items()}
    assert set(told) == shipped


def test_every_key_of_the_configuration_has_its_reason_beside_it() -> None:
    lines = (ROOT / "config.toml").read_text("utf-8").partition("# A channel is called")[0].splitlines()
    assert [line for line in lines if re.match(r"\w+ = ", line) and "  # " not in line and " # " not in line] == []


@pytest.mark.parametrize("word", WORDS)
def test_the_glossary_explains_every_word_of_the_design(word: str) -> None:
    assert re.search(rf"^\| [\w, ]*\b{word}\b[\w, ]* \| \S", GLOSSARY, re.MULTILINE)
