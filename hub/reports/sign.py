# SPDX-License-Identifier: Apache-2.0
"""The hub's own signature under its reports: Ed25519 over the canonical JSON of a manifest that names each file's SHA-256.

The key is made at the first start, readable by the hub alone. Its public half is what a regulator is given once, on paper
or in person: who trusts a report trusts that key.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785

from kernel.errors import ConfigError, Fault
from kernel.ids import sha256_hex

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRIVATE, PUBLIC = "report.key", "report.pub"
ALGORITHM = "Ed25519"


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key. `id` is the first 16 hex digits of the SHA-256 of the public key's 32 bytes."""

    private: "Ed25519PrivateKey"
    public: bytes
    id: str


def key_id(public: bytes) -> str:
    return sha256_hex(public)[:16]


def report_key(folder: Path) -> Key:
    """The key of a folder, made where there is none: `report.key` (PEM, mode 600) and `report.pub` (PEM).

    Raises ConfigError where others can read the private key, or it is no Ed25519 key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = folder / PRIVATE
    if not path.exists():
        _make(folder)
    if path.stat().st_mode & 0o077:
        raise ConfigError([Fault(str(path), "others on this machine can read the signing key", f"chmod 600 {path}")])
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), None)
    except ValueError:
        raise ConfigError([Fault(str(path), "no private key in PEM", "Restore it from its copy")]) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError([Fault(str(path), "not an Ed25519 key", "Move it away; a new one is made at the next start")])
    public = private.public_key().public_bytes_raw()
    return Key(private, public, key_id(public))


def _make(folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / PUBLIC).write_bytes(public)
    # Whole or not at all, and never readable by others, not even for a moment.
    unfinished = folder / f".{PRIVATE}.{os.getpid()}"
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / PRIVATE)


def public_key_of(path: Path) -> bytes:
    """The 32 bytes of a public key in PEM. Raises ConfigError where the file holds none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError):
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise ConfigError([Fault(str(path), "no Ed25519 public key in PEM", "Give the hub's report.pub")])
    return public.public_bytes_raw()


def manifest(files: Mapping[str, bytes], key: str) -> bytes:
    """What is signed: algorithm, key id, and each file's SHA-256, as canonical JSON."""
    return rfc8785.dumps(
        {"alg": ALGORITHM, "files": {name: sha256_hex(content) for name, content in files.items()}, "key_id": key}
    )


def sign(files: Mapping[str, bytes], key: Key) -> bytes:
    """The detached signature file for some files: JSON, the same bytes for the same files and key."""
    signed: dict[str, Any] = {
        "alg": ALGORITHM,
        "files": {name: sha256_hex(content) for name, content in files.items()},
        "key_id": key.id,
        "public_key": key.public.hex(),
        "signature": key.private.sign(manifest(files, key.id)).hex(),
    }
    return rfc8785.dumps(signed)


def signature_holds(public: bytes, signature: bytes, signed: bytes) -> bool:
    """Whether a signature over some bytes is that key's."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key: Ed25519PublicKey = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True
