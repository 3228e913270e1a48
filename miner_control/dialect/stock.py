# SPDX-License-Identifier: Apache-2.0
"""Off with an aftermarket firmware: Braiins OS and VNish keep the maker's own firmware of the Antminer beside them, and go back
to it. From then on the miner speaks the maker's dialect, and only that can tell the version it runs.
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


def going_back(access: Access, asked: Generator[Request, Answer, Receipt]) -> Generator[Request, Answer, Receipt]:
    """Ask for the way back, and remember that it was taken."""
    receipt = yield from asked
    if isinstance(receipt, Accepted):
        access.memory["went_to_stock"] = True
    return receipt


def read(access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field] | None]:
    """The values of a miner that went back, in its maker's dialect; None where it did not, or still answers in its own."""
    if not access.memory.get("went_to_stock"):
        return None
    try:
        return (yield from _MAKERS.read(access, tier, now_ms))
    except (TransportError, DecodeError):
        return None
