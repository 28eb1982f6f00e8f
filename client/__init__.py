"""The Python client of chatd, on trio. Independent of the server: it shares no code with it, only the protocol.

async with open_client("ws://127.0.0.1:8000/v1/ws", token=token) as client:
    await client.subscribe("room:lobby")
    await client.send("room:lobby", {"text": "hello"})
    async for event in client.events():
        print(event)
"""

from client.accounts import TokenKeeper, Tokens, guest, login, refresh, register
from client.answers import Conversation, HistoryPage, Presence, Sent, Session, Subscription, UserState
from client.backend import BackendClient, Placed, UserSession, open_backend
from client.client import Client, open_client
from client.errors import (
    BadAnswer,
    ClientError,
    ConnectionClosed,
    ConnectionFailed,
    RequestError,
    Unanswered,
)
from client.events import (
    Count,
    Event,
    Gap,
    HasRead,
    Joined,
    Left,
    Message,
    PresenceChanged,
    Reconnected,
    Unsubscribed,
)
from client.options import Options, TokenProvider

__all__ = [
    "BackendClient",
    "BadAnswer",
    "Client",
    "ClientError",
    "ConnectionClosed",
    "ConnectionFailed",
    "Conversation",
    "Count",
    "Event",
    "Gap",
    "HasRead",
    "HistoryPage",
    "Joined",
    "Left",
    "Message",
    "Options",
    "Placed",
    "Presence",
    "PresenceChanged",
    "Reconnected",
    "RequestError",
    "Sent",
    "Session",
    "Subscription",
    "TokenKeeper",
    "TokenProvider",
    "Tokens",
    "Unanswered",
    "Unsubscribed",
    "UserSession",
    "UserState",
    "guest",
    "login",
    "open_backend",
    "open_client",
    "refresh",
    "register",
]
