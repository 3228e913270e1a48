# SPDX-License-Identifier: Apache-2.0
"""Signatures of orders and acknowledgements: Ed25519 (RFC 8032) over canonical JSON (RFC 8785) without `signature`."""

from collections.abc import Mapping
from typing import Any


def signing_bytes(body: Mapping[str, Any]) -> bytes:
    """Bytes to sign: the object without its `signature`, as canonical JSON. ValueError where it has values that JSON lacks."""
    import rfc8785

    return rfc8785.dumps({name: value for name, value in body.items() if name != "signature"})


def signed_by(public_key: str, body: Mapping[str, Any]) -> bool:
    """Whether `signature` (128 hex) of the object was made by the owner of a public key (64 hex). Never raises an exception."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(body["signature"]), signing_bytes(body))
    except (InvalidSignature, ValueError, TypeError, KeyError):
        return False
    return True


def sign(private_key: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its `signature`; `private_key` is the seed, 64 hex."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key))
    return {**body, "signature": key.sign(signing_bytes(body)).hex()}
