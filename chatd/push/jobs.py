"""The two kinds of jobs: tell these users of a message, when it is time; and tell this device, now.

queue "push"            one message, up to `push.batch_users` users; key: place and number of the part
queue "push:PROVIDER"   one message, one device; key: place and token, so that nothing puts it twice. Its lane is the
                        device's, so that pushes come in the order of the messages, and a newer one is not replaced
                        by an older one that had to be tried again.
"""

import hashlib

import msgspec

from chatd.push.content import Content
from protocol.names import UserId
from storage.jobs import NewJob
from storage.records import PushTokenRecord

PLAN_QUEUE = "push"


class Plan(msgspec.Struct, frozen=True):
    """Users who were not looking when a message came."""

    content: Content
    users: list[UserId]


class DevicePush(msgspec.Struct, frozen=True, omit_defaults=True):
    """One device that is to be told of one message. `checked_at` is when somebody last looked whether it still is."""

    content: Content
    token: PushTokenRecord
    locale: str
    badge: int | None
    checked_at: int


_encode = msgspec.msgpack.Encoder().encode
_read_plan = msgspec.msgpack.Decoder(Plan).decode
_read_push = msgspec.msgpack.Decoder(DevicePush).decode


def queue_of(provider: str) -> str:
    """Return the queue of one provider's devices."""
    return f"push:{provider}"


def plan_job(plan: Plan, part: int, due: int) -> NewJob:
    """Make the job of a plan; `part` counts the plans of one message."""
    return NewJob(queue=PLAN_QUEUE, body=_encode(plan), due=due, key=f"{plan.content.place}/{part}")


def push_job(push: DevicePush, due: int) -> NewJob:
    """Make the job of one device."""
    name = token_name(push.token)
    return NewJob(
        queue=queue_of(push.token.provider),
        body=_encode(push),
        due=due,
        lane=f"{name}/{push.content.kind}",
        key=f"{push.content.place}/{name}",
    )


def token_name(token: PushTokenRecord) -> str:
    """Return a short name of a token that fits into keys and logs: tokens are secrets, and up to kilobytes long."""
    return hashlib.sha256(f"{token.provider} {token.token}".encode()).hexdigest()[:20]


def read_plan(body: bytes) -> Plan:
    """Read the body of a plan's job.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return _read_plan(body)


def read_push(body: bytes) -> DevicePush:
    """Read the body of a device's job.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return _read_push(body)
