"""What posts to URLs, without a network: it answers as a test says, and remembers what was posted."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import trio

from chatd.outbound.client import Answer, PostFailed

Script = int | Answer | Exception | Callable[[], "Script"]


@dataclass
class Posted:
    """One request, and when it was made (seconds of trio's clock)."""

    url: str
    body: bytes
    headers: dict[str, str]
    at: float


@dataclass
class ScriptedPoster:
    """Implements `chatd.outbound.client.Poster`. `seconds` is how long an answer takes, or how long a failure."""

    script: deque[Script] = field(default_factory=deque)
    default: Script = 204
    seconds: float = 0.0
    posted: list[Posted] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    is_closed: bool = False

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float, answer_bytes: int
    ) -> Answer:
        """Answer with the next of the script."""
        self.posted.append(Posted(url, body, dict(headers), trio.current_time()))
        reply = self.script.popleft() if self.script else self.default
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            with trio.fail_after(seconds):
                await trio.sleep(self.seconds)
        except trio.TooSlowError as error:
            raise PostFailed("too slow") from error
        finally:
            self.at_once -= 1
        while callable(reply):
            reply = reply()
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Answer) else Answer(reply, {}, b"")

    async def aclose(self) -> None:
        """Remember that it was closed."""
        await trio.lowlevel.checkpoint()
        self.is_closed = True
