"""What a push says, in the language of the device: a TOML file's texts with sender, channel and text filled in."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from chatd.config import ConfigError
from chatd.push.content import Content
from protocol.names import split_channel

SHIPPED = Path(__file__).with_name("templates.toml")
_FALLBACK = "en"
_NAMES = re.compile(r"\{(\w*)\}")
_KNOWN = {"sender", "channel", "text"}


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said in one language."""

    title: str = "{sender}"
    body: str = "{text}"
    empty: str = "New message"
    call: str = "Incoming call"


class Templates:
    """All languages of one file."""

    def __init__(self, languages: dict[str, tuple[Template, dict[str, Template]]]) -> None:
        self._languages = languages

    def render(self, content: Content, locale: str) -> tuple[str, str]:
        """Return the title and the body of a message, in this language or the nearest one that there is."""
        namespace, rest = split_channel(content.channel) or ("", content.channel)
        own, special = self._find(locale)
        template = special.get(namespace, own)
        given = {"sender": str(content.sender), "channel": rest, "text": content.text}
        body = template.call if content.kind == "voip" else template.body if content.text else template.empty
        return content.title or _fill(template.title, given), content.body or _fill(body, given)

    def _find(self, locale: str) -> tuple[Template, dict[str, Template]]:
        """Look for `de-AT`, then for `de` (the lookup of RFC 4647 section 3.4), then for English."""
        tag = locale.lower()
        while tag:
            if tag in self._languages:
                return self._languages[tag]
            tag = tag.rpartition("-")[0]
        return self._languages[_FALLBACK]


def _fill(text: str, given: dict[str, str]) -> str:
    return _NAMES.sub(lambda match: given[match[1]], text)


def load_templates(path: Path) -> Templates:
    """Read a file of templates.

    Raises:
        ConfigError: It cannot be read, or says what cannot be filled in.
    """
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"push.templates: {path}: {error}") from error
    languages = {}
    for language, table in tree.items():
        if not isinstance(table, dict):
            raise ConfigError(f"push.templates: {path}: {language} is no table")
        own = _template({key: value for key, value in table.items() if not isinstance(value, dict)}, path, language)
        base = msgspec.to_builtins(own)
        special = {
            name: _template(base | value, path, f"{language}.{name}")
            for name, value in table.items()
            if isinstance(value, dict)
        }
        languages[language.lower()] = own, special
    if _FALLBACK not in languages:
        raise ConfigError(f"push.templates: {path}: there is no [{_FALLBACK}]")
    return Templates(languages)


def _template(table: dict[str, Any], path: Path, place: str) -> Template:
    try:
        template = msgspec.convert(table, Template)
    except msgspec.ValidationError as error:
        raise ConfigError(f"push.templates: {path}: {place}: {error}") from error
    for text in (template.title, template.body, template.empty, template.call):
        unknown = set(_NAMES.findall(text)) - _KNOWN
        if unknown:
            raise ConfigError(f"push.templates: {path}: {place}: {{{unknown.pop()}}} is nothing that can be filled in")
    return template
