"""A message as a row of a table: the columns that both stores ask for, in this order, and the message in such a row."""

from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import StoredMessage

COLUMNS = "channel, epoch, seq, sender, key, at, kind, encoding, body, revised_at"

Row = tuple[ChannelName, Epoch, Seq, UserId, str, int, str, int, bytes, int | None]


def message_of(row: Row) -> StoredMessage:
    """Make a message of a row of COLUMNS."""
    channel, epoch, seq, sender, key, at, kind, encoding, body, revised_at = row
    return StoredMessage(
        channel=channel,
        epoch=epoch,
        seq=seq,
        sender=sender,
        key=key,
        at=at,
        body=Body(Encoding(encoding), body),
        kind=kind,
        revised_at=revised_at,
    )
