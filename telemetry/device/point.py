# SPDX-License-Identifier: Apache-2.0
"""One measured quantity of a device model: location on the wire and conversion to the canonical value.

canonical = raw * factor / inverse_factor + offset, where these already contain scale, unit, sign, linear ranges and
transformer ratios. (0.1 V is `inverse_factor = 10`: dividing gives 230.1 where multiplying gives 230.10000000000002.) The
type of a raw value depends on its location: registers, a JSON document, or a named answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from telemetry.collect.source import Tier

Order = Literal["big", "little"]

# type -> (struct format, registers)
REGISTER_TYPES: Mapping[str, tuple[str, int]] = {
    "u16": ("H", 1), "i16": ("h", 1),
    "u32": ("I", 2), "i32": ("i", 2), "f32": ("f", 2),
    "u64": ("Q", 4), "i64": ("q", 4), "f64": ("d", 4),
}  # fmt: skip
JSON_TYPES = frozenset({"number", "numeral", "text", "json"})
# type -> bytes of one value in a packed answer; 0: it is not packed
ANSWER_TYPES: Mapping[str, int] = {
    "number": 0, "numeral": 0, "text": 0, "mercury_u24": 3, "mercury_p24": 3, "mercury_q24": 3, "mercury_u32": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Register:
    """Modbus registers: `address` is the wire (0-based) address of the first of `count`, read with `function` 1 to 4.

    `unit_id` is given only where one device answers under several unit ids (the controllers of a container).
    """

    function: int
    address: int
    count: int
    unit_id: int | None = None


@dataclass(frozen=True, slots=True)
class Pointer:
    """JSON location: keys and indices in a named document; values of several paths are added up."""

    document: str
    paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A named answer of a serial protocol, and the position of the value in it (0: first)."""

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Point:
    """A metric of the schema and how it is read. Immutable; created by `telemetry.device.profile.load`.

    - `scale_at`: register with the power of ten (SunSpec). `also`: registers of the same type that are added up (the same
      register of several controllers). `bit`: one bit of a register.
    - `labels`: raw codes to state texts. `sentinels`: raw values that mean "no value"; `nan_is_sentinel`: the same for NaN.
    """

    metric: str
    at: Register | Pointer | Answer
    type: str
    unit: str
    factor: float = 1.0
    inverse_factor: float = 1.0
    offset: float = 0.0
    low: float | None = None
    high: float | None = None
    tier: Tier = Tier.FAST
    word_order: Order = "big"
    byte_order: Order = "big"
    bit: int | None = None
    scale_at: Register | None = None
    also: tuple[Register, ...] = ()
    sentinels: frozenset[int | float | str] = frozenset()
    nan_is_sentinel: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    is_text: bool = False
