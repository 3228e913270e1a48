# SPDX-License-Identifier: Apache-2.0
"""A meter of a site, and how far around a span its samples are needed."""

from dataclasses import dataclass

AROUND_MS = 3_600_000
"""Samples this far outside a span still tell what its edges were; further, where the register was silent there."""


@dataclass(frozen=True, slots=True)
class MeterRef:
    """A meter of a site: its device key, its role (main, feeder, sub), the feeder it stands on."""

    device: str
    role: str
    feeder: str | None = None
