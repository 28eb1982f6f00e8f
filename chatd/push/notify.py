"""From a job to what a provider hands over: texts, the app's data, and what it replaces on the device."""

import msgspec

from chatd.push import Notification
from chatd.push.jobs import DevicePush, token_name
from chatd.push.templates import Templates


def notification_of(push: DevicePush, templates: Templates) -> Notification:
    """Make the notification of a device's job; the same job gives the same one.

    Without a wish of the sender's, messages replace nothing on the device; they are grouped by their channel.
    """
    content = push.content
    title, body = templates.render(content, push.locale) if content.kind in ("alert", "voip") else ("", "")
    return Notification(
        id=f"{content.place}/{token_name(push.token)}",
        kind=content.kind,
        title=title,
        body=body,
        badge=push.badge,
        sound=content.sound or ("default" if content.kind == "alert" else ""),
        thread=content.channel,
        collapse=content.collapse,
        priority=content.priority,
        expires_at=content.expires_at // 1000,
        data=_data(push, title, body),
        state=msgspec.Raw(content.state) if content.state else None,
        event=content.event,
    )


def _data(push: DevicePush, title: str, body: str) -> dict[str, str]:
    """Return what the app gets besides: all of it texts, and no key `from`: FCM takes nothing else."""
    content = push.content
    data = {
        "channel": str(content.channel),
        "epoch": content.epoch,
        "seq": str(content.seq),
        "sender": str(content.sender),
        "at": str(content.at),
    }
    if content.kind == "voip":
        data |= {"title": title, "body": body}  # the app draws the call itself
    return data
