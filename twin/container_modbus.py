# SPDX-License-Identifier: Apache-2.0
"""Simulated container on Modbus (MicroBT): controllers by unit id, PDU sockets switched by register, after a login.

Socket i of PDU p is unit (p - 1) * 20 + i of the container: off, the miner has no power; on again, it boots.
"""

import struct

import numpy as np

from kernel.clock import Clock
from telemetry.device.codec import encode
from telemetry.device.profile import Profile
from telemetry.wire.microbt_login import LOGIN_ADDRESS, RANDOM_ADDRESS, RANDOM_COUNT, login_registers
from twin.container import SOCKETS, Container
from twin.meters import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, Image, read_registers

ACCOUNT = "admin"
FIRST_PDU = 9
REFUSED = 3


class ModbusContainer:
    """The station of one container behind its gateway."""

    def __init__(self, container: Container, profile: Profile, clock: Clock, rng: np.random.Generator) -> None:
        self.container = container
        self.profile = profile
        self.clock = clock
        self._password = container.site.spec.password
        self._random = [int(register_value) for register_value in rng.integers(1, 0xFFFF, RANDOM_COUNT)]
        self._known = False

    def faults(self, unit_id: int) -> set[str]:
        silent = "container_silent" in self.container.site.service_faults
        return {"dead"} if silent else set()

    def answer(self, unit_id: int, pdu: bytes) -> bytes:
        """The PDU of an answer: reads (3, 4), one register (6), many (16)."""
        match pdu[0]:
            case 3 | 4:
                return read_registers(pdu, self._image(unit_id))
            case 6:
                address, value = struct.unpack(">HH", pdu[1:5])
                return self._switch(unit_id, pdu, address, value)
            case 16:
                return self._login(unit_id, pdu)
        return bytes((pdu[0] | 0x80, ILLEGAL_FUNCTION))

    def _image(self, unit_id: int) -> Image:
        image: Image = {}
        for block in self.profile.reads():
            if (block.unit_id or self.profile.unit_id) == unit_id:
                image.update({(block.function, block.address + at): 0 for at in range(block.count)})
        self.container.site.machines.advance(self.clock.now_ms())
        for (at_unit, function, address), register_value in encode(self.profile, self.container.figures()).items():
            if (at_unit or self.profile.unit_id) == unit_id:
                image[(function, address)] = register_value
        for switch in self.profile.switches.values():
            if switch.read.unit_id == unit_id:
                for index in range(switch.count):
                    unit = self.container.socket(unit_id - FIRST_PDU + 1, index + 1)
                    on = unit is not None and unit.plugged
                    off = 0 if switch.read_off is None else switch.read_off
                    place = switch.read.address + index * switch.read_step
                    image[(switch.read.function, place)] = switch.read_on if on else off
        if unit_id == 1:
            image.update({(3, RANDOM_ADDRESS + at): register_value for at, register_value in enumerate(self._random)})
        return image

    def _switch(self, unit_id: int, pdu: bytes, address: int, value: int) -> bytes:
        if not self._known:
            return bytes((pdu[0] | 0x80, REFUSED))
        for switch in self.profile.switches.values():
            index, odd = divmod(address - switch.address, switch.step)
            if switch.read.unit_id != unit_id or odd or not 0 <= index < min(switch.count, SOCKETS):
                continue
            if value not in (switch.on, switch.off):
                return bytes((pdu[0] | 0x80, ILLEGAL_VALUE))
            on, pdu_number = value == switch.on, unit_id - FIRST_PDU + 1
            if self.container.switch(pdu_number, index + 1, on, self.clock.now_ms()):
                return pdu
        return bytes((pdu[0] | 0x80, ILLEGAL_ADDRESS))

    def _login(self, unit_id: int, pdu: bytes) -> bytes:
        address, count, _ = struct.unpack(">HHB", pdu[1:6])
        registers = list(struct.unpack(f">{count}H", pdu[6 : 6 + 2 * count])) if len(pdu) >= 6 + 2 * count else []
        if unit_id != 1 or address != LOGIN_ADDRESS:
            return bytes((pdu[0] | 0x80, ILLEGAL_ADDRESS))
        self._known = registers == login_registers(self._random, ACCOUNT, self._password)
        return pdu[:5] if self._known else bytes((pdu[0] | 0x80, REFUSED))
