# SPDX-License-Identifier: Apache-2.0
"""Check of a profile by the frames in its `[checked]` table: raw data must decode to the expected values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kernel.errors import Fault
from kernel.reading import Missing
from telemetry.device.codec import decode
from telemetry.device.codec_registers import RegisterKey, registers_read
from telemetry.device.profile import Profile

REGISTER_WIRES = ("modbus", "sunspec")


def frame_registers(frames: Sequence[Mapping[str, Any]]) -> dict[RegisterKey, int | Missing]:
    """Registers of frames: {function, address, hex, unit_id?}. Raises KeyError, ValueError."""
    found: dict[RegisterKey, int | Missing] = {}
    for frame in frames:
        data = bytes.fromhex(frame["hex"])
        registers = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
        found |= registers_read(frame.get("unit_id"), frame["function"], frame["address"], registers)
    return found


def raw_of(profile: Profile, raw: Mapping[str, Any]) -> Mapping[Any, Any]:
    """A frame in the form that `decode` reads. Raises KeyError, ValueError."""
    if profile.wire in REGISTER_WIRES:
        return frame_registers(raw["registers"])
    if profile.wire == "mercury":
        return {name: bytes.fromhex(text) for name, text in raw["answers"].items()}
    answers: Mapping[Any, Any] = raw.get("answers", raw)
    return answers


def frame_faults(profile: Profile) -> list[Fault]:
    """Every value of a frame that decodes to another value; an empty list where all frames agree with the profile."""
    faults = []
    for number, frame in enumerate(profile.check.frames):
        place = f"{profile.name}: checked.frame[{number}]"
        try:
            found = decode(profile, raw_of(profile, frame.raw), 0)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            faults.append(Fault(place, f"cannot be read: {error}", "See docs/howto/add-a-device.md"))
            continue
        for metric, expected in frame.expect.items():
            reported = found.get(metric, "no point of this profile")
            same = (
                math.isclose(reported, expected, rel_tol=1e-6, abs_tol=1e-9)
                if isinstance(reported, int | float) and isinstance(expected, int | float)
                else reported == expected
            )
            if not same:
                problem = f"{metric} decodes to {reported}, not {expected}"
                faults.append(Fault(place, problem, "Correct address, type, scale or unit, or the frame"))
    return faults
