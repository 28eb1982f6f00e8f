"""Seals message bodies with AES-256-GCM, so that who has the database but no key cannot read them.

Keys are of two kinds. A *master key* is the operator's; the store never has it. A *data key* is random, sealed
(wrapped) with a master key, and kept in the store beside the messages. Bodies are sealed with data keys, so a new
master key asks only for the few data keys to be wrapped anew, and a new data key for nothing: history stays as it is.

A sealed body is

    C1 01 · data key's id (8 bytes) · salt (16) · counter (8) · ciphertext and tag (16)

C1 begins no JSON text and no MessagePack value, so sealed and plain bodies can stand in one history. The associated
data are the message's channel, epoch, seq and encoding: a body that is moved to another row does not open.

A nonce must never come twice with one key. With random nonces a key may seal 2^32 messages (NIST SP 800-38D, 8.3), ten
days at 5,000 a second. So each process derives a key of its own from the data key by a random salt (the expand step of
HKDF, RFC 5869 section 2.3) and counts the nonces.
"""

import hmac
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.body import Body
from storage import StoreError, StoreUnavailable
from storage.records import DataKeyRecord, StoredMessage

KEY_BYTES = 32
_ID_BYTES = 8
_SALT_BYTES = 16
_COUNTER_BYTES = 8
_NONCE_BYTES = 12
_MARK = b"\xc1\x01"
_SALT_START = len(_MARK) + _ID_BYTES
_COUNTER_START = _SALT_START + _SALT_BYTES
_CIPHERTEXT_START = _COUNTER_START + _COUNTER_BYTES
_PADDING = bytes(_NONCE_BYTES - _COUNTER_BYTES)
_DERIVED_KEYS = 4096  # kept ready: one for each process that sealed anything that is read now
_LABEL = b"chatd message bodies"


class KeyMissing(StoreError):
    """A data key cannot be unwrapped: its master key is not there, or is another one."""


class BodyUnreadable(StoreUnavailable):
    """A body is sealed with a data key that is not here (yet)."""


class BodyDamaged(StoreError):
    """A sealed body, or the row it is in, is not what was written."""


class DataKeys(Protocol):
    """The part of a store that has the data keys; `storage.Store` says what each call does."""

    async def data_keys(self) -> list[DataKeyRecord]: ...

    async def put_data_key(self, key: DataKeyRecord) -> None: ...


def is_sealed(body: Body) -> bool:
    """Tell whether a body is sealed."""
    return body.raw[:1] == _MARK[:1]


class KeyRing:
    """Data keys, unwrapped, by their ids (hexadecimal); the newest one of the active master key seals.

    `masters` are the master keys by their names. `active` names the one that new data keys are wrapped with; if it is
    empty nothing is sealed, but what is sealed already can be opened.
    """

    def __init__(self, masters: Mapping[str, bytes], active: str) -> None:
        self._masters = masters
        self._active = active
        self._keys: dict[bytes, bytes] = {}
        self._cipher = lru_cache(_DERIVED_KEYS)(self._derive)
        self._sealer: Sealer | None = None
        self._sealing_id = ""

    def load(self, records: Iterable[DataKeyRecord]) -> None:
        """Take over the store's data keys, the oldest first.

        Raises:
            KeyMissing: One of them cannot be unwrapped.
        """
        newest = ""
        for record in records:
            identity = bytes.fromhex(record.data_key)
            if identity not in self._keys:
                self._keys[identity] = self.unwrap(record)
            if record.master == self._active:
                newest = record.data_key
        if newest and newest != self._sealing_id:
            self._sealing_id = newest
            identity = bytes.fromhex(newest)
            self._sealer = Sealer(identity, self._keys[identity])

    def wrap(self, key: bytes, identity: str, at: int) -> DataKeyRecord:
        """Wrap a data key with the active master key.

        Raises:
            KeyMissing: There is no active master key.
        """
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = nonce + AESGCM(self._master(self._active, identity)).encrypt(nonce, key, bytes.fromhex(identity))
        return DataKeyRecord(data_key=identity, master=self._active, wrapped=wrapped, created_at=at)

    def make(self, at: int) -> DataKeyRecord:
        """Make a new data key, wrapped; it seals when it was kept and loaded."""
        return self.wrap(AESGCM.generate_key(8 * KEY_BYTES), os.urandom(_ID_BYTES).hex(), at)

    def rewrap(self, record: DataKeyRecord) -> DataKeyRecord:
        """Wrap a data key with the active master key instead of its own."""
        return self.wrap(self.unwrap(record), record.data_key, record.created_at)

    def unwrap(self, record: DataKeyRecord) -> bytes:
        """Return a data key.

        Raises:
            KeyMissing: Its master key is not there, or is another one.
        """
        master = AESGCM(self._master(record.master, record.data_key))
        nonce, sealed = record.wrapped[:_NONCE_BYTES], record.wrapped[_NONCE_BYTES:]
        try:
            return master.decrypt(nonce, sealed, bytes.fromhex(record.data_key))
        except (InvalidTag, ValueError) as error:
            raise KeyMissing(
                f"the master key {record.master} is not the one that the data key {record.data_key} was wrapped with"
            ) from error

    @property
    def sealer(self) -> "Sealer | None":
        """Return what seals now; None where bodies are kept as they are."""
        return self._sealer

    @property
    def wants_key(self) -> bool:
        """Tell whether bodies are to be sealed, but there is no data key for it."""
        return bool(self._active) and self._sealer is None

    def open(self, message: StoredMessage) -> StoredMessage:
        """Return a message with its body as it was before it was sealed, if it was.

        Raises:
            BodyUnreadable: Its data key is not known.
            BodyDamaged: It does not open: something of it, its channel, epoch, seq or encoding is not as it was.
        """
        raw = message.body.raw
        if raw[:1] != _MARK[:1]:
            return message
        identity = raw[len(_MARK) : _SALT_START]
        if identity not in self._keys:
            raise BodyUnreadable(f"{message.channel} {message.seq} is sealed with the data key {identity.hex()}")
        cipher = self._cipher(identity, raw[_SALT_START:_COUNTER_START])
        nonce = _PADDING + raw[_COUNTER_START:_CIPHERTEXT_START]
        try:
            plain = cipher.decrypt(nonce, raw[_CIPHERTEXT_START:], _associated(message))
        except (InvalidTag, ValueError) as error:
            raise BodyDamaged(f"{message.channel} {message.seq} does not open") from error
        return msgspec.structs.replace(message, body=Body(message.body.encoding, plain))

    def _master(self, name: str, data_key: str) -> bytes:
        if name not in self._masters:
            raise KeyMissing(
                f"the master key {name or '(none)'} is missing, which the data key {data_key} is wrapped with: "
                "name it in store.encryption.keys"
            )
        return self._masters[name]

    def _derive(self, identity: bytes, salt: bytes) -> AESGCM:
        return AESGCM(_derived(self._keys[identity], salt))


class Sealer:
    """Seals bodies with a key of its own, derived from a data key, and counts the nonces."""

    def __init__(self, identity: bytes, key: bytes) -> None:
        salt = os.urandom(_SALT_BYTES)
        self._start = _MARK + identity + salt
        self._encrypt = AESGCM(_derived(key, salt)).encrypt
        self._sealed = 0

    def seal(self, message: StoredMessage) -> StoredMessage:
        """Return a message with its body sealed; an empty body, which a deleted message has, stays empty."""
        if not message.body.raw:
            return message
        self._sealed += 1
        counter = self._sealed.to_bytes(_COUNTER_BYTES, "big")
        sealed = self._encrypt(_PADDING + counter, message.body.raw, _associated(message))
        body = Body(message.body.encoding, b"".join((self._start, counter, sealed)))
        return StoredMessage(
            channel=message.channel,
            epoch=message.epoch,
            seq=message.seq,
            sender=message.sender,
            key=message.key,
            at=message.at,
            body=body,
            kind=message.kind,
            revised_at=message.revised_at,
        )


def _derived(key: bytes, salt: bytes) -> bytes:
    return hmac.digest(key, _LABEL + salt + b"\x01", "sha256")


def _associated(message: StoredMessage) -> bytes:
    """Return what a sealed body belongs to; no name or epoch has a space in it."""
    return f"{message.channel} {message.epoch} {message.seq} {message.body.encoding:d}".encode()
