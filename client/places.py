"""Where the client stands in each channel: what is new, what was seen, where a hole is. Pure state, no waiting.

A place moves with each message that was handed on and with each own message that was acknowledged. A message that would
leave a hole in a member channel is held, with all that follow it, until the hole was filled from the history.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from client.answers import Sent
from client.events import Event, Gap, Message

OWN_REMEMBERED = 256


class Kind(Enum):
    """How a channel comes to this client."""

    SUBSCRIBED = auto()
    MEMBER = auto()
    UNKNOWN = auto()  # we wrote into it, and nothing came from it yet


@dataclass(slots=True)
class Place:
    """Everything up to `seq` of `epoch` is known here."""

    epoch: str
    seq: int
    kind: Kind
    ahead: set[int] = field(
        default_factory=set
    )  # own messages beyond `seq`: acknowledged, others between still to come
    echoes: set[int] = field(default_factory=set)  # own messages up to `seq` that may still come back as events
    held: list[Message] | None = None

    def move_to(self, seq: int) -> None:
        """Stand at `seq`, or beyond it where own messages follow directly."""
        self.seq = seq
        while self.seq + 1 in self.ahead:
            self.seq += 1
            self.echoes.add(self.seq)
        self.ahead = {own for own in self.ahead if own > self.seq}
        if len(self.echoes) > OWN_REMEMBERED:
            self.echoes = {own for own in self.echoes if own > self.seq - OWN_REMEMBERED // 2}

    def restart(self, epoch: str, seq: int) -> None:
        """Stand somewhere else; what was remembered about the old place means nothing."""
        self.epoch, self.seq = epoch, seq
        self.ahead.clear()
        self.echoes.clear()


class Places:
    """The places of all channels, those with the latest messages last. At most `limit` channels are remembered."""

    def __init__(self, limit: int) -> None:
        self._places: dict[str, Place] = {}
        self._limit = limit
        self._holds_unknown = False

    # What commands tell.

    def subscribed(self, channel: str, epoch: str, seq: int) -> None:
        """Begin a subscription at this place."""
        self._places[channel] = Place(epoch, seq, Kind.SUBSCRIBED)

    def forget(self, channel: str) -> None:
        """Know nothing of the channel any more."""
        self._places.pop(channel, None)

    def is_subscribed(self, channel: str) -> bool:
        """Tell whether the client subscribed to it."""
        place = self._places.get(channel)
        return place is not None and place.kind is Kind.SUBSCRIBED

    def seq(self, channel: str) -> int | None:
        """Return how far the channel is known; None when it is not known at all."""
        place = self._places.get(channel)
        return None if place is None else place.seq

    def sent(self, sent: Sent) -> None:
        """Count an own message that was acknowledged."""
        place = self._places.get(sent.channel)
        if place is None:
            self._add(sent.channel, Place(sent.epoch, sent.seq, Kind.UNKNOWN))
        elif sent.epoch == place.epoch and sent.seq > place.seq:
            place.ahead.add(sent.seq)
            if place.kind is Kind.UNKNOWN and len(place.ahead) > OWN_REMEMBERED:
                place.restart(sent.epoch, sent.seq)  # nothing ever comes from there
            elif place.held is None:
                place.move_to(place.seq)

    # What events tell.

    def take(self, message: Message) -> tuple[list[Event], bool]:
        """Return what to hand on, and whether a hole was found: then the channel is held until `release`."""
        place = self._places.pop(message.channel, None)
        if place is None:
            if self._holds_unknown:
                self._add(message.channel, Place(message.epoch, -1, Kind.MEMBER, held=[message]))
                return [], False
            self._add(message.channel, Place(message.epoch, message.seq, Kind.MEMBER))
            return [message], False
        self._places[message.channel] = place
        if place.kind is Kind.UNKNOWN:
            place.kind = Kind.MEMBER
        if place.held is not None:
            place.held.append(message)
            return [], False
        return self._step(place, message)

    def _step(self, place: Place, message: Message) -> tuple[list[Event], bool]:
        if message.epoch != place.epoch:
            gap = [Gap(message.channel, message.epoch, message.seq)] if place.seq > 0 else []
            place.restart(message.epoch, message.seq)
            return [*gap, message], False
        if message.seq <= place.seq:
            if message.seq not in place.echoes:
                return [], False
            place.echoes.discard(message.seq)
            return [message], False
        if place.kind is Kind.SUBSCRIBED or message.seq == place.seq + 1:
            place.move_to(message.seq)
            return [message], False
        place.held = [message]
        return [], True

    # Resuming.

    def cursors(self, limit: int) -> dict[str, list[str | int]]:
        """Return the cursors for `connect`: those of the subscriptions, then of the latest member channels."""
        members = [name for name, place in self._places.items() if place.kind is Kind.MEMBER]
        chosen = [*self.subscriptions(), *reversed(members)][:limit]
        return {name: [self._places[name].epoch, self._places[name].seq] for name in chosen}

    def subscriptions(self) -> dict[str, list[str | int]]:
        """Return the cursors of all subscriptions."""
        return {name: [place.epoch, place.seq] for name, place in self._places.items() if place.kind is Kind.SUBSCRIBED}

    def disconnected(self) -> None:
        """Drop what is held: the next connection brings it again."""
        self._holds_unknown = False
        for channel, place in list(self._places.items()):
            place.held = None
            if place.seq < 0:
                del self._places[channel]

    def resumed(self, channel: str, epoch: str, seq: int, recovered: bool, messages: Iterable[Message]) -> list[Event]:
        """Take what a cursor brought; return what to hand on."""
        place = self._places[channel]
        if not recovered:
            place.restart(epoch, seq)
            return [Gap(channel, epoch, seq)]
        events: list[Event] = [message for message in messages if message.seq > place.seq]
        place.restart(epoch, seq)
        return events

    def hold_unknown(self) -> None:
        """Hold the messages of channels that are not known, until `release` or `known`."""
        self._holds_unknown = True

    def stop_holding_unknown(self) -> list[str]:
        """Let messages of unknown channels begin a place again; return the channels that are still held so."""
        self._holds_unknown = False
        return [channel for channel, place in self._places.items() if place.seq < 0]

    # Filling.

    def hold(self, channel: str) -> None:
        """Hold a member channel's messages, because it is known to have a hole at its end."""
        place = self._places[channel]
        place.kind = Kind.MEMBER
        if place.held is None:
            place.held = []

    def begin(self, channel: str, epoch: str, seq: int) -> None:
        """Stand at this place in a channel that was not known, and hold what comes until `release`."""
        place = self._places.get(channel)
        held = place.held if place is not None and place.held else []
        self._add(channel, Place(epoch, seq, Kind.MEMBER, held=held))

    def needs(self, channel: str, up_to: int) -> bool:
        """Tell whether a held channel still lacks messages before the first held one, or up to a seq."""
        place = self._places.get(channel)
        if place is None or place.held is None:
            return False
        place.move_to(place.seq)
        first = place.held[0].seq - 1 if place.held else 0
        return place.seq < max(first, up_to)

    def fill(self, messages: Iterable[Message]) -> list[Event]:
        """Take messages from the history that follow the place of a held channel; return what to hand on."""
        events: list[Event] = []
        for message in messages:
            place = self._places[message.channel]
            if message.seq <= place.seq:
                continue
            if message.seq > place.seq + 1 or message.epoch != place.epoch:
                place.epoch = message.epoch
                events.append(Gap(message.channel, message.epoch, message.seq))
            events.append(message)
            place.move_to(message.seq)
        return events

    def release(self, channel: str) -> tuple[list[Event], bool]:
        """Hand on what was held; a hole that is still before it is given up. True when there is another one behind."""
        place = self._places.get(channel)
        if place is None or place.held is None:
            return [], False
        held, place.held = place.held, None
        events: list[Event] = []
        if held and held[0].epoch == place.epoch and held[0].seq > place.seq + 1:
            if place.seq >= 0:
                events.append(Gap(channel, place.epoch, held[0].seq))
            place.move_to(held[0].seq - 1)
        for number, message in enumerate(held):
            more, is_hole = self._step(place, message)
            events += more
            if is_hole:
                place.held = held[number:]
                return events, True
        return events, False

    def _add(self, channel: str, place: Place) -> None:
        self._places.pop(channel, None)
        self._places[channel] = place
        if len(self._places) > self._limit:
            for name, other in self._places.items():
                if other.kind is not Kind.SUBSCRIBED and other.held is None and name != channel:
                    del self._places[name]
                    break
