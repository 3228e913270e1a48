# SPDX-License-Identifier: Apache-2.0
"""Write encryption of Whatsminer v1/v2: md5-crypt of the password, a signed token, AES-256-ECB of the command.

Poul-Henning Kamp's md5-crypt ("$1$") is implemented here because Python's own `crypt` was removed. The scheme is the maker's
and weak by today's standards: it keeps no secret on a network that is tapped.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
TOKEN_LIFE_MS = 25 * 60_000
"""The miner drops a token after 30 min; it is renewed a little earlier."""


def md5_crypt(password: str, salt: str) -> str:
    """The 22 characters after the salt of `$1$salt$...`; the salt counts up to its eighth character."""
    secret, grain = password.encode(), salt.encode()[:8]
    inner = hashlib.md5(secret + grain + secret, usedforsecurity=False).digest()
    start = secret + b"$1$" + grain
    start += (inner * (len(secret) // 16 + 1))[: len(secret)]
    length = len(secret)
    while length:
        start += b"\x00" if length & 1 else secret[:1]
        length >>= 1
    digest = hashlib.md5(start, usedforsecurity=False).digest()
    for turn in range(1000):
        mixed = secret if turn & 1 else digest
        if turn % 3:
            mixed += grain
        if turn % 7:
            mixed += secret
        mixed += digest if turn & 1 else secret
        digest = hashlib.md5(mixed, usedforsecurity=False).digest()
    text = ""
    for a, b, c in _ORDER:
        text += _letters(digest[a] << 16 | digest[b] << 8 | digest[c], 4)
    return text + _letters(digest[11], 2)


def _letters(value: int, count: int) -> str:
    text = ""
    for _ in range(count):
        text += _ALPHABET[value & 63]
        value >>= 6
    return text


@dataclass(frozen=True, slots=True)
class Token:
    """Key and signature of commands until `until_ms`."""

    sign: str
    key: bytes
    until_ms: int


def make_token(password: str, answer: dict[str, Any], now_ms: int) -> Token:
    """A token from the answer of `get_token`: time, salt, newsalt. Raises KeyError where one is missing."""
    secret = md5_crypt(password, str(answer["salt"]))
    sign = md5_crypt(secret + str(answer["time"]), str(answer["newsalt"]))
    return Token(sign, hashlib.sha256(secret.encode()).digest(), now_ms + TOKEN_LIFE_MS)


def sealed(token: Token, command: dict[str, Any]) -> bytes:
    """An encrypted command in wire form."""
    body = orjson.dumps({**command, "token": token.sign})
    body += b"\x00" * (-len(body) % 16)
    return orjson.dumps({"enc": 1, "data": base64.b64encode(_cipher(token.key, body, seal=True)).decode()})


def opened(token: Token, document: dict[str, Any]) -> bytes | None:
    """The plain bytes of an encrypted answer, or None where the answer is plain. Raises ValueError on a bad one."""
    data = document.get("enc")
    if not isinstance(data, str):
        return None
    # Some wrap the base64 text in lines.
    raw = base64.b64decode("".join(data.split()))
    return _cipher(token.key, raw, seal=False).rstrip(b"\x00")


def _cipher(key: bytes, data: bytes, *, seal: bool) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.AES(key), modes.ECB())
    engine = cipher.encryptor() if seal else cipher.decryptor()
    return engine.update(data) + engine.finalize()
