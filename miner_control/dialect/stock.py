# SPDX-License-Identifier: Apache-2.0
"""Return from an aftermarket firmware (Braiins OS, VNish) to the maker's own firmware of the Antminer.

Both keep the maker's firmware on the device and can restore it. From then on the miner speaks the maker's dialect, and only
that reports the version it runs.
"""

from collections.abc import Generator, Mapping

from kernel.errors import DecodeError, TransportError
from kernel.reading import Field
from kernel.receipt import Accepted, Receipt
from miner_control.dialect.antminer import Antminer
from miner_control.fleet.driver import Access, Answer, Request
from telemetry.collect.source import Tier

ONLY_STOCK = "keeps no earlier release: install its image, or go back to the maker's own firmware (version `stock`)"
_MAKERS = Antminer()


def returning(access: Access, asked: Generator[Request, Answer, Receipt]) -> Generator[Request, Answer, Receipt]:
    """Command the return to the maker's firmware, and remember that it was accepted."""
    receipt = yield from asked
    if isinstance(receipt, Accepted):
        access.memory["went_to_stock"] = True
    return receipt


def read(access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field] | None]:
    """Values of a returned miner, in its maker's dialect; None where it did not return, or still answers in its own."""
    if not access.memory.get("went_to_stock"):
        return None
    try:
        return (yield from _MAKERS.read(access, tier, now_ms))
    except (TransportError, DecodeError):
        return None
