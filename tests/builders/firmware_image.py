# SPDX-License-Identifier: Apache-2.0
"""Firmware images that the simulated miners take."""

from twin.firmware import MARK


def make_image(dialect: str, version: str, size: int = 65_536) -> bytes:
    """An image of `size` bytes that a unit of that dialect takes."""
    head = MARK + f"{dialect}\n{version}\n{size}\n".encode()
    return head + bytes(max(0, size - len(head)))
