"""Bytes ↔ messages: the two codecs of the wire, JSON and MessagePack, chosen by the WebSocket subprotocol.

Errors:

    CodecError
    ├── BadMessage    the bytes are no object of this encoding, or have no usable id: the connection cannot go on
    └── BadCommand    a command that can be refused by its id: unknown, or with a field that is wrong
"""

import json
import re
from typing import Any

import msgspec

from protocol.body import Encoding
from protocol.codes import ErrorCode
from protocol.frames import Opcode
from protocol.messages import AnyCommand

JSON_SUBPROTOCOL = "chatd.v1.json"
MSGPACK_SUBPROTOCOL = "chatd.v1.msgpack"


class CodecError(Exception):
    """The root of what decoding raises."""


class BadMessage(CodecError):
    """The bytes are no object of this encoding; there is no id to answer to."""


class BadCommand(CodecError):
    """A command that is refused. Carries the id, the code and the reason of the answer."""

    def __init__(self, command_id: int, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.id = command_id
        self.code = code
        self.reason = reason


class _Envelope(msgspec.Struct):
    """As much of a refused command as is needed to answer it."""

    id: int
    type: str


_HALF_A_CHARACTER = "a text has half a character in it (a lone surrogate)"
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
COMMAND_NAMES = frozenset(str(command.__struct_config__.tag) for command in AnyCommand.__args__)


class Codec:
    """One encoding of commands and events. There are two, `JSON` and `MSGPACK`; they hold no state."""

    __slots__ = ("_decode", "_decode_envelope", "decode_quickly", "encode", "encoding", "opcode", "subprotocol")

    def __init__(self, subprotocol: str, encoding: Encoding, opcode: Opcode, library: Any) -> None:
        self.subprotocol = subprotocol
        self.encoding = encoding
        self.opcode = opcode
        self.encode = library.Encoder().encode
        """Turn an event into its bytes."""
        self._decode = self.decode_quickly = library.Decoder(AnyCommand).decode
        """Turn a payload into a command, with the library's errors: for who leaves what is wrong to `decode`."""
        self._decode_envelope = library.Decoder(_Envelope).decode

    def decode(self, payload: bytes) -> AnyCommand:
        """Turn the payload of one WebSocket message into a command.

        Raises:
            BadMessage: The session must be closed.
            BadCommand: The command must be refused.
        """
        try:
            command: AnyCommand = self._decode(payload)
        except msgspec.ValidationError as error:
            raise self._refusal(payload, error) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._malformed(payload, error) from error
        except RecursionError as error:
            raise BadMessage("nested too deeply") from error
        return command

    def _malformed(self, payload: bytes, error: Exception) -> CodecError:
        """Find out whether nothing is wrong but half a character, as a page says when it cuts a text inside an emoji.

        JSON's grammar has escapes for lone surrogates (RFC 8259 section 8.2), but no text can hold one.
        """
        if self.encoding is Encoding.JSON and _SURROGATE_ESCAPE.search(payload):
            try:
                command = json.loads(payload)
                said = json.dumps(command, ensure_ascii=False)
                if isinstance(command, dict) and type(command["id"]) is int and _SURROGATE.search(said):
                    return _checked(_Envelope(id=command["id"], type=str(command["type"])), _HALF_A_CHARACTER)
            except (ValueError, KeyError, RecursionError):
                pass  # more is wrong with it
        return BadMessage(f"not {self.encoding.name}: {error}")

    def _refusal(self, payload: bytes, error: msgspec.ValidationError) -> CodecError:
        """Find out whether the command can be answered by its id."""
        try:
            envelope = self._decode_envelope(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return BadMessage("a command is an object with an integer `id` and a text `type`")
        return _checked(envelope, str(error))


def _checked(envelope: _Envelope, reason: str) -> CodecError:
    """Return the refusal of what says this, or the end if there is no id to answer to."""
    if not 0 <= envelope.id < 2**53:
        return BadMessage("`id` is an integer from 0 to 2^53 - 1")
    if envelope.type not in COMMAND_NAMES:
        return BadCommand(envelope.id, ErrorCode.UNKNOWN_COMMAND, "no command has this `type`")
    return BadCommand(envelope.id, ErrorCode.BAD_REQUEST, reason)


JSON = Codec(JSON_SUBPROTOCOL, Encoding.JSON, Opcode.TEXT, msgspec.json)
MSGPACK = Codec(MSGPACK_SUBPROTOCOL, Encoding.MSGPACK, Opcode.BINARY, msgspec.msgpack)
CODECS = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}
