"""A clock that only moves when it is told to."""


class HandClock:
    """Unix seconds that stand still until `advance`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
