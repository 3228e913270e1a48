# SPDX-License-Identifier: Apache-2.0
"""Writes to PDU sockets and contactors: proved by a read after the write, and told honestly when they are not."""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from pymodbus.constants import ExcCodes

from kernel.clock import system_clock
from kernel.errors import ConfigError
from kernel.receipt import Receipt, Refused, Unknown, Unreachable, Unsupported, Verified
from telemetry.collect.source import Tier
from telemetry.device.points import Faults
from telemetry.device.profile import Profile, load, parse
from telemetry.io.modbus import Address, ModbusLine, ModbusSource
from telemetry.io.modbus_switch import ModbusSwitch, microbt_login
from tests.servers import free_port
from tests.wires.modbus_servers import answer_frame, device, exception_frame, pymodbus_server, raw_server

CONTAINERS = Path(__file__).parents[2] / "configs" / "profiles" / "containers"
SWITCHES = CONTAINERS.parent / "switches"


def pdu(switch: Mapping[str, object]) -> Profile:
    data = {
        "make": "Test", "model": "PDU", "kind": "container", "wire": "modbus", "source_url": "https://example.org/pdu",
        "checked": {"status": "unverified", "by": "made for the test"},
        "points": {"power_w": {"address": 0, "type": "u16", "unit": "W"}},
        "switch": {"socket": switch},
    }  # fmt: skip
    return parse("pdu", data, Faults("pdu.toml"), {})


REGISTERS = pdu(
    {
        "count": 8,
        "function": 6,
        "address": 100,
        "read_function": 3,
        "read_address": 100,
        "on": 1,
        "off": 2,
        "read_off": 2,
    }
)
COILS = pdu({"count": 8, "function": 5, "address": 10, "read_function": 1, "read_address": 10})
BACKWARDS = pdu(
    {"count": 4, "function": 16, "address": 103, "step": -1, "read_function": 3, "read_address": 103, "on": 1, "off": 2}
)


async def ask(
    port: int,
    profile: Profile,
    index: int,
    on: bool,
    deadline_s: float = 20.0,
    timeout_s: float = 10.0,
    group: str = "socket",
) -> Receipt:
    line = ModbusLine(Address("tcp", "127.0.0.1", port), timeout_s=timeout_s, connect_timeout_s=timeout_s)
    try:
        return await ModbusSwitch("h/s/pdu", profile, line, system_clock()).switch(
            group, index, on, deadline_s=deadline_s
        )
    finally:
        line.close()


@pytest.mark.parametrize("profile", [REGISTERS, COILS, BACKWARDS])
def test_a_socket_is_switched_and_read_back(profile: Profile) -> None:
    async def scenario() -> None:
        tables = {1: dict.fromkeys(range(32), 0), 3: dict.fromkeys(range(128), 0)}
        async with pymodbus_server([device(1, tables)]) as port:
            for on in (True, False, True):
                receipt = await ask(port, profile, 4, on)
                assert isinstance(receipt, Verified), receipt

    asyncio.run(scenario())


def test_a_refusal_of_a_device_is_reported_with_its_code() -> None:
    async def no(function: int, _start: int, _address: int, _count: int, _now: object, _set: object) -> ExcCodes | None:
        return ExcCodes.ILLEGAL_VALUE if function == 6 else None

    async def scenario() -> None:
        tables = {3: dict.fromkeys(range(128), 2)}
        async with pymodbus_server([device(1, tables, no)]) as port:
            receipt = await ask(port, REGISTERS, 1, True)
            assert isinstance(receipt, Refused) and receipt.code == "3"

    asyncio.run(scenario())


def test_a_device_that_accepts_and_does_nothing_is_unknown() -> None:
    async def liar(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(request if request[7] == 6 else answer_frame(request, {100: 1}))

    async def scenario() -> None:
        async with raw_server(liar) as (port, counts):
            receipt = await ask(port, REGISTERS, 1, False, deadline_s=1.5)
            assert isinstance(receipt, Unknown) and "reads back 1" in receipt.text
            assert counts["requests"] >= 3, "it was read again until the deadline"

    asyncio.run(scenario())


def test_a_lost_reply_is_unknown_and_no_connection_is_unreachable() -> None:
    async def mute(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        return

    async def scenario() -> None:
        async with raw_server(mute) as (port, counts):
            assert isinstance(await ask(port, REGISTERS, 1, True, timeout_s=0.3), Unknown)
            assert counts["requests"] == 1, "a write is never sent twice"
        assert isinstance(await ask(free_port(), REGISTERS, 1, True), Unreachable)
        assert isinstance(await ask(free_port(), REGISTERS, 9, True), Unsupported)

    asyncio.run(scenario())


def test_a_microbt_container_wants_its_login_before_each_socket() -> None:
    """Random words are read, a digest of them is written, and only then does the PDU take the write."""
    profile = load(CONTAINERS / "microbt_wonderint.toml")
    state = {"logged_in": False, "socket": 2}
    random = [0x1122, 0x3344, 0x5566, 0x7788]
    seed = bytes.fromhex("1122334455667788")
    wanted = hashlib.sha256(seed + hashlib.md5(b"admin").digest() + hashlib.md5(b"secret").digest()).digest()

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        unit, function, address = request[6], request[7], int.from_bytes(request[8:10], "big")
        if function == 16:
            assert (unit, address) == (1, 304)
            state["logged_in"] = request[13:] == wanted
            writer.write(request[:4] + b"\0\x06" + request[6:12])
        elif function == 6:
            if not state["logged_in"]:
                writer.write(exception_frame(request, 4))
                return
            assert (unit, address) == (10, 309 - 5 - 1), "PDU 2, socket 5: register 309 - 5, counted from 1"
            state["socket"] = int.from_bytes(request[10:12], "big")
            writer.write(request)
        elif unit == 1:
            writer.write(answer_frame(request, dict(enumerate(random, start=300))))
        else:
            assert address == 45 + 4
            writer.write(answer_frame(request, {address: int(state["socket"] == 1)}))

    async def scenario() -> None:
        async with raw_server(answer) as (port, _):
            line = ModbusLine(Address("tcp", "127.0.0.1", port), timeout_s=10.0)
            try:
                good = ModbusSwitch("h/s/c", profile, line, system_clock(), login=microbt_login("admin", "secret"))
                assert isinstance(await good.switch("pdu02", 5, True), Verified)
                assert isinstance(await good.switch("pdu02", 5, False), Verified)
                bad = ModbusSwitch("h/s/c", profile, line, system_clock(), login=microbt_login("admin", "wrong"))
                receipt = await bad.switch("pdu02", 5, True)
                assert isinstance(receipt, Refused) and receipt.code == "4"
            finally:
                line.close()

    asyncio.run(scenario())


# --- relays and contactors of any site ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["modbus_coils", "modbus_coils_multiple", "modbus_words", "modbus_bits", "waveshare_relay_8ch"]
)
def test_relays_of_any_site_are_switched_one_by_one(name: str) -> None:
    """From the tenth address on where the site says so; neighbours stay as they are, and the source tells the same."""
    sited = {} if name.startswith("waveshare") else {"first": 10, "outputs": 4}
    profile = load(SWITCHES / f"{name}.toml", sited)

    async def scenario() -> list[dict[str, object]]:
        reported: list[dict[str, object]] = []
        first, last = int(profile.parameters.get("first", 0)), int(profile.parameters.get("outputs", 8))
        addresses = range(first, first + (1 if name == "modbus_bits" else last))
        tables = {1: dict.fromkeys(addresses, 0), 3: dict.fromkeys(addresses, 0)}
        async with pymodbus_server([device(1, tables)]) as port:
            line = ModbusLine(Address("tcp", "127.0.0.1", port), timeout_s=0.5)
            source = ModbusSource("h/s/pdu", profile, line, system_clock())
            for index, on in ((2, True), (3, True), (2, False)):
                receipt = await ask(port, profile, index, on, group="output")
                assert isinstance(receipt, Verified), receipt
                assert receipt.reading.values == {f"output_{index}_state": "on" if on else "off"}
                reported.append(dict((await source.read(Tier.FAST)).values))
            assert isinstance(await ask(port, profile, last + 1, True, group="output"), Unsupported)
            line.close()
        return reported

    reported = asyncio.run(scenario())
    outputs = int(profile.parameters.get("outputs", 8))
    assert [set(values) for values in reported] == [{f"output_{at}_state" for at in range(1, outputs + 1)}] * 3
    on = [{key for key, state in values.items() if state == "on"} for values in reported]
    assert on == [{"output_2_state"}, {"output_2_state", "output_3_state"}, {"output_3_state"}]


def test_a_contactor_that_does_not_pull_in_is_no_success() -> None:
    profile, stuck = load(SWITCHES / "modbus_contactors.toml", {"outputs": 2}), {1}
    coils = {0: 0, 1: 0}

    async def contactors(request: bytes, writer: asyncio.StreamWriter) -> None:
        function, address = request[7], int.from_bytes(request[8:10], "big")
        if function == 5:
            coils[address] = int(request[10] == 0xFF)
            writer.write(request)
        else:
            assert function == 2, "the contact is read, not the coil"
            closed = int(coils[address] and address not in stuck)
            writer.write(request[:4] + b"\0\x04" + request[6:8] + bytes((1, closed)))

    async def scenario() -> None:
        async with raw_server(contactors) as (port, _):
            assert isinstance(await ask(port, profile, 1, True, group="output"), Verified)
            receipt = await ask(port, profile, 2, True, deadline_s=0.4, group="output")
            assert isinstance(receipt, Unknown) and "reads back 0" in receipt.text and coils[1] == 1

    asyncio.run(scenario())


def test_faults_of_a_switch_are_reported() -> None:
    wrong = {"count": 8, "function": 6, "address": 0, "read_function": 3, "read_address": 0, "bit": 9}
    faults: tuple[tuple[dict[str, object], str], ...] = (
        ({}, "8 bits from 9"),
        ({"bit": 0, "function": 5}, "Use 6 or 16"),
        ({"bit": 0, "function": 4}, "writes nothing"),
        ({"count": "many"}, "count"),
    )
    for otherwise, words in faults:
        switch = {**wrong, **otherwise}
        with pytest.raises(ConfigError, match=words):
            pdu(switch)
    with pytest.raises(ConfigError, match="whole parameter"):
        load(SWITCHES / "modbus_coils.toml", {"first": -1})
