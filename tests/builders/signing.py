# SPDX-License-Identifier: Apache-2.0
"""A dispatcher's key pair."""

SEED = "11" * 32


def public_key() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED)).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
