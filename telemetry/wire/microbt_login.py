# SPDX-License-Identifier: Apache-2.0
"""Login of a MicroBT container: values for registers 305.. computed from four random registers at 301..

Source: MiningOS container-microbt workers/lib/utils/auth.js. MD5 is the device's choice; the hub does not rely on it as a
protection.
"""

import hashlib
from collections.abc import Sequence

RANDOM_ADDRESS, RANDOM_COUNT, LOGIN_ADDRESS = 300, 4, 304


def login_registers(random: Sequence[int], account: str, password: str) -> list[int]:
    """The 16 registers to write: SHA-256 over the random bytes, MD5 of the account and MD5 of the password."""
    seed = b"".join(value.to_bytes(2, "big") for value in random)
    named = hashlib.md5(account.encode(), usedforsecurity=False).digest()
    known = hashlib.md5(password.encode(), usedforsecurity=False).digest()
    digest = hashlib.sha256(seed + named + known).digest()
    return [int.from_bytes(digest[at : at + 2], "big") for at in range(0, 32, 2)]
