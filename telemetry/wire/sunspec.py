# SPDX-License-Identifier: Apache-2.0
"""SunSpec model chain: discovery bases, the "SunS" marker, and addresses of the models.

A profile's addresses are offsets from its model's ID register. Source: SunSpec Device Information Model Specification 1.1,
section 6 (discovery at 40000, 50000 and 0; model header ID and L; end mark 0xFFFF).
"""

BASES = (40000, 50000, 0)
MARK = (0x5375, 0x6E53)
END = 0xFFFF
MOST_MODELS = 64


def next_model(at: int, header: tuple[int, int]) -> int | None:
    """Address of the model after the one with header (ID, L) at `at`; None at the end of the chain."""
    model, length = header
    following = at + 2 + length
    return None if model == END or following > 0xFFFF else following
