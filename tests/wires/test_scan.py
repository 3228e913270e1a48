# SPDX-License-Identifier: Apache-2.0
"""A scan over real sockets: 65,536 loopback addresses under soak, a quarter of them every day; miners of every kind, mute
and full ones, and others."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from kernel.clock import cpu_s, system_clock
from miner_control.inventory.asset_register import AssetRegister
from miner_control.inventory.discover import compare, targets
from miner_control.inventory.identify import CGMINER, FLUX, FRAMED, WEB
from miner_control.io.scan import scan
from tests.servers import count, free_port

Street = tuple[dict[str, str], dict[int, int]]
NAMES = {"antminer_web": "antminer"}
SPREAD = count(16_384, 65_536)
NOT_MINERS = ("printer", "mute", "full")


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    ways = {known: free_port() for known in (CGMINER, FRAMED, WEB, FLUX)}
    argv = [
        sys.executable,
        str(Path(__file__).with_name("street.py")),
        str(count(500, 2000)),
        str(SPREAD),
        *map(str, ways.values()),
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline()), ways
    finally:
        process.kill()
        process.wait()


def bare_cpu_s(hosts: int, ports: Iterable[int]) -> float:
    """Processor seconds of nothing but connects to addresses where nobody is: what a scan costs at least, here and now."""
    spent_s = cpu_s()
    for at in range(hosts):
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
                sock.connect_ex((f"127.31.{at >> 8}.{at & 255}", port))
    return cpu_s() - spent_s


def test_all_are_found_and_none_is_misnamed(street: Street):
    truth, ways = street
    asked = targets([f"127.30.0.0-127.30.{(SPREAD - 1) >> 8}.255"], ["127.0.0.0/8"])
    assert len(asked) == SPREAD
    shown: list[int] = []
    bare_s = bare_cpu_s(2048, ways.values()) / 2048
    spent_s = cpu_s()
    found = asyncio.run(
        scan(asked, system_clock(), ports=ways, answer_s=5.0, progress=lambda done, total: shown.append(done))
    )
    took_s = (cpu_s() - spent_s) / len(asked)
    named = {one.host: one.identity.dialect for one in found if one.identity is not None and one.identity.dialect}
    wanted = {host: NAMES.get(kind, kind) for host, kind in truth.items() if kind not in NOT_MINERS}
    assert named == wanted
    notes = {truth[one.host]: one.note for one in found if one.identity is None}
    assert set(notes) == {"mute"} and "open" in notes["mute"], "who is full cannot be met"
    texts = {truth[one.host]: one.identity.reported_text for one in found if one.identity and not one.identity.dialect}
    assert set(texts) == {"printer"} and texts["printer"], "who answers is of unknown family, in its own terms"
    assert shown == sorted(shown) and shown[-1] == SPREAD
    print(f"{1e6 * took_s:.0f} us of processor time an address, {took_s / bare_s:.1f} times the connects alone")
    # Others may use the machine as well, and it may be any: what is ours alone is the share above what cannot be saved.
    assert took_s / bare_s < 4.0

    difference = compare(AssetRegister(()), asked, found, "hub", "north")
    assert len(difference.new) == len(wanted) and not difference.doubled
    again = compare(difference.register, asked, found, "hub", "north")
    assert (again.new, again.moved, again.swapped, again.gone) == ((), (), (), ())


def test_a_scan_over_ipv6(street: Street):
    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: answer(reader, writer), "::1", 0)
        port = server.sockets[0].getsockname()[1]
        asked = targets(["::1"], ["::1/128"])
        found = await scan(asked, system_clock(), ports={CGMINER: port})
        assert [(one.host, one.identity.dialect if one.identity else "") for one in found] == [("::1", "luxos")]
        server.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b'{"STATUS":[{"STATUS":"S"}],"VERSION":[{"LUXminer":"2025.1","Type":"Antminer S21"}],"id":1}')
        writer.close()

    asyncio.run(main())
