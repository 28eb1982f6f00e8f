"""The Lua scripts of chatd/redis/lua: each file says in its header what its KEYS and ARGV are, and what it returns."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files

from chatd.redis.packing import Argument, Template, pack

_FOLDER = files("chatd.redis") / "lua"


class Script:
    """One script: run by its hash where the server knows it, by its text where it does not yet."""

    __slots__ = ("keys", "name", "sha", "text")

    def __init__(self, name: str, keys: int) -> None:
        self.name = name
        self.keys = keys  # how many of the arguments are keys
        self.text = (_FOLDER / f"{name}.lua").read_text("utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def command(self, arguments: Sequence[Argument]) -> bytes:
        """Return the command that runs it: the keys first, then the rest."""
        return pack(("EVALSHA", self.sha, self.keys, *arguments))

    def template(self, arguments: Sequence[Argument]) -> Template:
        """Return the command that runs it with two arguments that are not known yet, which are BLANK here."""
        return Template(("EVALSHA", self.sha, self.keys, *arguments))

    def whole_command(self, arguments: Sequence[Argument]) -> bytes:
        """Return the command that runs it and lets the server know it."""
        return pack(("EVAL", self.text, self.keys, *arguments))

    def load_command(self) -> bytes:
        """Return the command that only lets the server know it."""
        return pack(("SCRIPT", "LOAD", self.text))


def is_unknown_script(reply: object) -> bool:
    """Tell whether the server answered that it does not know the script: it was restarted, or flushed."""
    return isinstance(reply, Exception) and str(reply).startswith("NOSCRIPT")
