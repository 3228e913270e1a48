# SPDX-License-Identifier: Apache-2.0
"""Switched loads on a Modbus line (PDU sockets, contactors, pumps); each write is verified by read-back.

The echo of a write is no proof of its effect.
"""

import asyncio
from collections.abc import Awaitable, Callable

from kernel.clock import Clock
from kernel.errors import TransportError
from kernel.metric import TEXT_METRICS
from kernel.reading import Reading
from kernel.receipt import Receipt, Refused, Unknown, Unreachable, Unsupported, Verified
from telemetry.device.block import Block
from telemetry.device.profile import Profile
from telemetry.device.switch import Switch
from telemetry.io.modbus import ExceptionAnswer, ModbusLine
from telemetry.wire.microbt_login import LOGIN_ADDRESS, RANDOM_ADDRESS, RANDOM_COUNT, login_registers

_READ_BACK_EVERY_S = 0.1


Login = Callable[[ModbusLine], Awaitable[None]]


def microbt_login(account: str, password: str) -> Login:
    """Login that a MicroBT container requires before each write."""

    async def login(line: ModbusLine) -> None:
        random, _ = await line.read(1, Block(None, 3, RANDOM_ADDRESS, RANDOM_COUNT))
        await line.write(1, 16, LOGIN_ADDRESS, login_registers(random, account, password))

    return login


class ModbusSwitch:
    """Outputs of one device. Shares the line (and its `turn`) with the `ModbusSource` of the same device."""

    def __init__(
        self,
        device: str,
        profile: Profile,
        line: ModbusLine,
        clock: Clock,
        *,
        unit_id: int | None = None,
        login: Login | None = None,
    ) -> None:
        self.device = device
        self._login = login
        self._profile, self._line, self._clock = profile, line, clock
        self._unit_id = profile.unit_id if unit_id is None else unit_id

    async def switch(self, name: str, index: int, on: bool, *, deadline_s: float = 5.0) -> Receipt:
        """Switch output `index` (from 1) of a group (`socket`, `contactor`) and read it back until the deadline.

        Verified only when a read after the write shows the state; Unknown when it was sent and no read shows it.
        """
        switch = self._profile.switches.get(name)
        if switch is None or not 1 <= index <= switch.count:
            return Unsupported(f"{self._profile.model} has no {name} {index}")
        begun_s = self._clock.monotonic_s()
        address = switch.place(index)
        unit_id = self._unit_id if switch.read.unit_id is None else switch.read.unit_id
        async with self._line.turn:
            try:
                if self._login is not None:
                    await self._login(self._line)
            except (ExceptionAnswer, TransportError) as error:
                self._line.release()
                return Unreachable(f"login failed, nothing was switched: {error}")
            held = 0
            try:
                if switch.bit is not None:
                    # The other bits of the register are other outputs: they are written back unchanged.
                    held = (await self._line.read(unit_id, Block(None, 3, address, 1)))[0][0]
            except (ExceptionAnswer, TransportError) as error:
                self._line.release()
                return Unreachable(f"its register could not be read, nothing was switched: {error}")
            try:
                await self._line.write(unit_id, switch.function, address, [switch.register_value(index, on, held)])
            except ExceptionAnswer as error:
                return Refused(str(error.code), str(error))
            except TransportError as error:
                return Unknown(error.text) if self._line.sent else Unreachable(error.text)
            finally:
                self._line.release()
        return await self._read_back(switch, name, index, on, unit_id, begun_s, deadline_s)

    async def _read_back(
        self, switch: Switch, name: str, index: int, on: bool, unit_id: int, begun_s: float, deadline_s: float
    ) -> Receipt:
        block = Block(None, switch.read.function, switch.read_place(index), 1)
        read_value = "nothing"
        while True:
            shown = False
            async with self._line.turn:
                try:
                    found, _ = await self._line.read(unit_id, block)
                    read_value, shown = str(found[0]), switch.shows(index, found[0], on)
                except (ExceptionAnswer, TransportError) as error:
                    read_value = str(error)
                finally:
                    self._line.release()
            took_s = self._clock.monotonic_s() - begun_s
            if shown:
                values = {"sockets_json": f'[{{"{name}":{index},"on":{"true" if on else "false"}}}]'}
                values[f"output_{index}_state"] = "on" if on else "off"
                reported = {key: text for key, text in values.items() if key in TEXT_METRICS[self._profile.kind]}
                return Verified(Reading(self.device, self._profile.kind, self._clock.now_ms(), reported), took_s)
            if took_s + _READ_BACK_EVERY_S > deadline_s:
                return Unknown(
                    f"{name} {index} was written {'on' if on else 'off'} and reads back {read_value} after {took_s:.1f} s"
                )
            await asyncio.sleep(_READ_BACK_EVERY_S)
