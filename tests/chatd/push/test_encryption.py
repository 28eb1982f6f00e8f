"""Encryption for browsers: the vectors of RFC 8291, and what a browser makes of it."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from chatd.push.encryption import LONGEST_BYTES, encrypt
from tests.rig.push_servers.webpush import decrypt, from_text, point, to_text

# RFC 8291, section 5 and appendix A.
PLAIN = b"When I grow up, I want to be a watermelon"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
RECEIVER = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
RECEIVER_POINT = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
SEALED = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLoc"
    "InmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)

KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = bytes(range(16))


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(from_text(text), "big"), ec.SECP256R1())


def test_the_vectors_of_the_rfc_come_out() -> None:
    sealed = encrypt(
        PLAIN,
        from_text(RECEIVER_POINT),
        from_text(AUTH),
        new_key=lambda: private_key(SENDER),
        random_bytes=lambda size: from_text(SALT),
    )
    assert to_text(sealed) == SEALED


def test_the_tests_own_browser_reads_the_vectors_too() -> None:
    assert decrypt(from_text(SEALED), private_key(RECEIVER), from_text(AUTH)) == PLAIN


@given(st.binary(max_size=LONGEST_BYTES))
def test_a_browser_reads_what_was_encrypted_for_it(plain: bytes) -> None:
    sealed = encrypt(plain, point(KEY), SECRET)
    assert len(sealed) <= 4096
    assert decrypt(sealed, KEY, SECRET) == plain


def test_no_two_messages_have_the_same_key_or_salt() -> None:
    first, second = encrypt(b"x", point(KEY), SECRET), encrypt(b"x", point(KEY), SECRET)
    assert first[:16] != second[:16]
    assert first[21:86] != second[21:86]


def test_another_browser_reads_nothing() -> None:
    with pytest.raises(ValueError, match="not for these keys"):
        decrypt(encrypt(b"x", point(KEY), SECRET), ec.generate_private_key(ec.SECP256R1()), SECRET)


def test_a_longer_message_than_every_service_takes_is_refused() -> None:
    assert len(encrypt(b"x" * LONGEST_BYTES, point(KEY), SECRET)) == 4096
    with pytest.raises(ValueError, match="3993 bytes"):
        encrypt(b"x" * (LONGEST_BYTES + 1), point(KEY), SECRET)


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [(b"", SECRET), (b"\x04" + b"\x01" * 64, SECRET), (point(KEY)[:-1], SECRET), (point(KEY), b"short")],
)
def test_what_is_no_key_is_refused(p256dh: bytes, auth: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        encrypt(b"x", p256dh, auth)
