# SPDX-License-Identifier: Apache-2.0
"""The `$1$` password hash (md5crypt), used by simulated Whatsminers for tokens. Not for keeping secrets."""

from hashlib import md5

_DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


def md5crypt(password: str, salt: str) -> str:
    """The full text `$1$salt$hash`; the salt counts to 8 characters."""
    secret, seed = password.encode(), salt[:8].encode()
    inner = md5(secret + seed + secret).digest()
    mixed = md5(secret + b"$1$" + seed)
    mixed.update((inner * (len(secret) // 16 + 1))[: len(secret)])
    bits = len(secret)
    while bits:
        mixed.update(b"\0" if bits & 1 else secret[:1])
        bits >>= 1
    digest = mixed.digest()
    for turn in range(1000):
        step = md5(secret if turn & 1 else digest)
        if turn % 3:
            step.update(seed)
        if turn % 7:
            step.update(secret)
        step.update(digest if turn & 1 else secret)
        digest = step.digest()
    text = ""
    for high, middle, low in _ORDER:
        text += _digits(digest[high] << 16 | digest[middle] << 8 | digest[low], 4)
    return f"$1${seed.decode()}${text}{_digits(digest[11], 2)}"


def _digits(value: int, length: int) -> str:
    return "".join(_DIGITS[value >> 6 * at & 0x3F] for at in range(length))
