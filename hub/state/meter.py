# SPDX-License-Identifier: Apache-2.0
"""A meter of a site, and how far around a span its samples are needed."""

from dataclasses import dataclass

from kernel.units import MS_PER_HOUR

AROUND_MS = MS_PER_HOUR
"""Samples this far outside a span still tell what its edges were; further, where the register was silent there."""


@dataclass(frozen=True, slots=True)
class MeterRef:
    """A meter of a site: its device key, its role (main, feeder, sub), the feeder it stands on."""

    device: str
    role: str
    feeder: str | None = None
