"""Signatures, against the vectors of the Standard Webhooks project and of RFC 8032, and by the other side's way."""

import base64

import pytest

from chatd.webhooks.signing import AsymmetricKey, SecretError, Signer, SymmetricKey, parse_key
from tests.rig.webhook_receiver import Received, fault_of

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_hmac_signs_as_the_libraries_of_the_specification_do() -> None:
    signer = Signer([parse_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")])
    headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_ed25519_signs_as_rfc_8032_says() -> None:
    key = AsymmetricKey(SEED)
    assert key.public == "whpk_" + base64.b64encode(PUBLIC).decode()
    expected = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert key.sign(b"") == "v1a," + base64.b64encode(bytes.fromhex(expected)).decode()


def test_a_private_key_may_carry_its_public_half() -> None:
    alone = parse_key("whsk_" + base64.b64encode(SEED).decode())
    pair = parse_key("whsk_" + base64.b64encode(SEED + PUBLIC).decode())
    assert alone.sign(b"x") == pair.sign(b"x")


def test_during_a_rotation_every_secret_signs() -> None:
    old, new = "whsec_" + base64.b64encode(b"o" * 32).decode(), "whsec_" + base64.b64encode(b"n" * 32).decode()
    public = AsymmetricKey(SEED).public
    signer = Signer([parse_key(old), parse_key(new), AsymmetricKey(SEED)])
    headers = signer.headers("id", 1, b"body")
    assert len(headers["webhook-signature"].split(" ")) == 3
    received = Received("/", headers | {"webhook-timestamp": headers["webhook-timestamp"]}, b"body")
    assert fault_of(received, [old, new, public]) == "too old or too new"


@pytest.mark.parametrize("body", [b"", b"\x00\xff", "☎".encode()])
def test_any_bytes_are_signed(body: bytes) -> None:
    assert SymmetricKey(b"k" * 24).sign(body).startswith("v1,")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_not base64!not base64!not base64!",
        "whsk_" + base64.b64encode(b"x" * 31).decode(),
        "whpk_" + base64.b64encode(PUBLIC).decode(),
    ],
)
def test_what_is_no_secret_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SecretError) as caught:
        parse_key(text)
    assert not text.partition("_")[2] or text.partition("_")[2] not in str(caught.value)


def test_a_secret_without_its_padding_is_taken() -> None:
    padded = base64.b64encode(b"x" * 25).decode()
    assert parse_key("whsec_" + padded.rstrip("=")).sign(b"") == parse_key("whsec_" + padded).sign(b"")
