"""Keys that an issuer signs with, and how it publishes them."""

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA = rsa.generate_private_key(65537, 2048)
SMALL_RSA = rsa.generate_private_key(65537, 1024)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()

KEYS: dict[str, PrivateKey] = {
    "RS256": RSA,
    "RS512": RSA,
    "PS256": RSA,
    "ES256": P256,
    "ES384": P384,
    "EdDSA": ED25519,
}


def pem(key: PrivateKey) -> bytes:
    """Return the public half as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(key: PrivateKey, **more: str) -> dict[str, Any]:
    """Return the public half as a JSON Web Key."""
    public = key.public_key()
    match public:
        case rsa.RSAPublicKey():
            text = jwt.algorithms.RSAAlgorithm.to_jwk(public)
        case ec.EllipticCurvePublicKey():
            text = jwt.algorithms.ECAlgorithm.to_jwk(public)
        case _:
            text = jwt.algorithms.OKPAlgorithm.to_jwk(public)
    described: dict[str, Any] = json.loads(text)
    described.pop("key_ops", None)
    return described | more
