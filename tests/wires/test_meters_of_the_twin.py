# SPDX-License-Identifier: Apache-2.0
"""The twin's meters read by a foreign master (mbpoll, libmodbus) and by us: the same watts and watt-hours."""

import asyncio
import re
import struct
import subprocess
from pathlib import Path

import pytest

from kernel.clock import system_clock
from telemetry.collect.source import Tier
from telemetry.device.profile import load
from telemetry.io.devices import Lines, Place
from tests.servers import need
from tests.twins import running_twin

METERS = Path(__file__).parents[2] / "configs" / "profiles" / "meters"


def mbpoll(host: str, port: int, unit: int, address: int, count: int) -> list[int]:
    """Holding registers as a foreign master reads them."""
    argv = [need("mbpoll"), "-m", "tcp", "-p", str(port), "-a", str(unit), "-0", "-1", "-q", "-t", "4:hex",
            "-r", str(address), "-c", str(count), host]  # fmt: skip
    reported = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout
    return [int(word, 16) for word in re.findall(r"^\[\d+\]:\s+0x([0-9A-Fa-f]+)", reported, re.M)]


def test_mbpoll_and_we_read_the_same_from_the_twins_meters(tmp_path: Path) -> None:
    async def ours(meters: list[dict[str, object]]) -> list[tuple[float, float]]:
        lines = Lines()
        reported = []
        for meter in meters:
            profile = load(METERS / f"{meter['profile']}.toml")
            place = Place(str(meter["host"]), int(str(meter["port"])), int(str(meter["unit"])))
            reading = await lines.source(str(meter["device"]), profile, place, system_clock()).read(Tier.FAST)
            power_w, energy_wh = reading.number("power_w"), reading.number("energy_import_wh")
            assert power_w is not None and energy_wh is not None
            reported.append((power_w, energy_wh))
        lines.close()
        return reported

    with running_twin(tmp_path, miners=20, feeders=2, pace=1.0) as twin:
        meters = twin.ready["meters"]
        assert len(meters) == 3
        for meter, (power_w, energy_wh) in zip(meters, asyncio.run(ours(meters)), strict=True):
            host, port, unit = meter["host"], int(meter["port"]), int(meter["unit"])
            if meter["profile"] == "abb_b23":
                high, low = mbpoll(host, port, unit, 0x5B14, 2)
                foreign_w = (high << 16 | low) * 0.01
                foreign_wh = _big_endian(mbpoll(host, port, unit, 0x5000, 4)) * 10.0
            else:
                high, low = mbpoll(host, port, unit, 3059, 2)
                foreign_w = struct.unpack(">f", (high << 16 | low).to_bytes(4, "big"))[0] * 1000.0
                foreign_wh = float(_big_endian(mbpoll(host, port, unit, 3203, 4)))
            assert foreign_w == pytest.approx(power_w, rel=0.05) and foreign_w > 1000.0
            assert foreign_wh == pytest.approx(energy_wh, abs=foreign_w / 3600 * 10 + 20)


def _big_endian(words: list[int]) -> int:
    value = 0
    for word in words:
        value = value << 16 | word
    return value
