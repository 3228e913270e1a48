# SPDX-License-Identifier: Apache-2.0
"""Discovery: addresses to scan, and comparison of the answers with the register (new, moved, swapped, doubled, gone).

Only networks on the allow list are ever scanned. An asset keeps its key when its control board is swapped or its address
changes: it is recognised by serial number, else by MAC, else by its address and port.
"""

import hashlib
import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kernel.errors import ConfigError, Fault
from kernel.ids import device_key
from miner_control.fleet.miner import Miner
from miner_control.inventory.asset_register import AssetRegister
from miner_control.inventory.identified import Identity

MOST_ADDRESSES = 1 << 20
_NOT_A_MAC = frozenset({"", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Targets:
    """Address ranges to scan, each inside the allow list."""

    ranges: tuple[tuple[Address, Address], ...]

    def __len__(self) -> int:
        return sum(int(last) - int(first) + 1 for first, last in self.ranges)

    def holds(self, host: str) -> bool:
        """Whether an address lies in one of the ranges."""
        try:
            at = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(first.version == at.version and int(first) <= int(at) <= int(last) for first, last in self.ranges)

    def __iter__(self) -> Iterator[str]:
        for first, last in self.ranges:
            if isinstance(first, ipaddress.IPv4Address):
                for number in range(int(first), int(last) + 1):
                    yield f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
            else:
                for number in range(int(first), int(last) + 1):
                    yield str(ipaddress.IPv6Address(number))


def targets(texts: Sequence[str], allowed: Sequence[str], most: int = MOST_ADDRESSES) -> Targets:
    """Ranges from `10.0.0.0/16`, `10.0.0.5-10.0.0.9`, `10.0.0.5`, `fd00::/120`. Raises ConfigError with every fault:
    no range, a range outside the allow list, too many addresses."""
    faults: list[Fault] = []
    nets = [net for text in allowed if (net := _network(text, "allow list", faults)) is not None]
    ranges: list[tuple[Address, Address]] = []
    for text in texts:
        found = _range(text, faults)
        if found is None:
            continue
        first, last = found
        if not any(first in net and last in net for net in nets if net.version == first.version):
            listed = ", ".join(allowed) or "empty"
            faults.append(
                Fault(f"range {text}", f"is not inside one allowed network ({listed})", "Allow it, or leave it out")
            )
        ranges.append(found)
    chosen = Targets(tuple(ranges))
    count = sum(int(last) - int(first) + 1 for first, last in ranges)
    if count > most:
        faults.append(Fault("ranges", f"hold {count} addresses, more than {most}", "Give narrower ranges"))
    if faults:
        raise ConfigError(faults)
    return chosen


def _network(text: str, place: str, faults: list[Fault]) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        faults.append(Fault(f"{place} {text!r}", str(error), "Write it like 10.0.0.0/16 or fd00::/64"))
        return None


def _range(text: str, faults: list[Fault]) -> tuple[Address, Address] | None:
    try:
        if "-" in text:
            start, _, end = text.partition("-")
            first, last = ipaddress.ip_address(start.strip()), ipaddress.ip_address(end.strip())
            if first.version != last.version or int(last) < int(first):
                raise ValueError("the end comes before the start")
            return first, last
        net = ipaddress.ip_network(text.strip(), strict=False)
        if net.version == 4 and net.prefixlen < 31:
            return net.network_address + 1, net.broadcast_address - 1
        return net.network_address, net.broadcast_address
    except ValueError as error:
        faults.append(Fault(f"range {text!r}", str(error), "Write 10.0.0.0/24, 10.0.0.5-10.0.0.9, or one address"))
        return None


@dataclass(frozen=True, slots=True)
class Found:
    """One address that answered. `identity` None: something listens and was not identified (`note`: reason)."""

    host: str
    identity: Identity | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference between a scan and the register. `register` is the updated one: a person's edits are kept.

    `moved`: (key, old host, new host). `swapped`: (key, changes). `doubled`: (serial or MAC, hosts that claim it); none of
    them enters the register. `gone`: keys without an answering address. `unknown`: (host, note) of unidentified listeners.
    """

    register: AssetRegister
    new: tuple[str, ...]
    moved: tuple[tuple[str, str, str], ...]
    swapped: tuple[tuple[str, str], ...]
    doubled: tuple[tuple[str, tuple[str, ...]], ...]
    gone: tuple[str, ...]
    unknown: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        """The difference as lines for people."""
        return [
            *(f"new      {key}" for key in self.new),
            *(f"moved    {key}: {old} -> {new}" for key, old, new in self.moved),
            *(f"swapped  {key}: {what}" for key, what in self.swapped),
            *(f"doubled  {name}: claimed by {', '.join(hosts)}" for name, hosts in self.doubled),
            *(f"gone     {key}" for key in self.gone),
            *(f"unknown  {host}: {note}" for host, note in self.unknown),
        ]


def compare(
    register: AssetRegister,
    scanned: Targets,
    found: Sequence[Found],
    hub: str,
    site: str,
    *,
    feeder: str = "unassigned",
) -> Difference:
    """Join a scan of `scanned` with the register. Pure: the same scan gives the same keys, so that a second one finds
    nothing new. Miners outside the scanned ranges are not gone."""
    miners = [one for one in found if one.identity is not None and one.identity.dialect]
    doubled = _doubled(miners)
    contested = {host for _, hosts in doubled for host in hosts}
    claims = Counter(miner.serial for miner in register.miners if miner.serial)
    by_serial = {miner.serial: miner for miner in register.miners if miner.serial and claims[miner.serial] == 1}
    by_mac = {miner.mac: miner for miner in register.miners if miner.mac not in _NOT_A_MAC}
    by_place = {(miner.host, _first_port(miner.ports)): miner for miner in register.miners}
    matched: dict[str, Miner] = {}
    new: list[Miner] = []
    moved, swapped = [], []
    for one in miners:
        identity = one.identity
        assert identity is not None
        if one.host in contested:
            continue
        known = (
            by_serial.get(identity.serial)
            or by_mac.get(identity.mac)
            or by_place.get((one.host, _first_port(identity.ports)))
        )
        if known is None or known.device in matched:
            new.append(_asset(one.host, identity, hub, site, feeder))
            continue
        fresh = _refreshed(known, one.host, identity)
        if fresh.host != known.host:
            moved.append((known.device, known.host, fresh.host))
        changed = [
            f"{what} {before} -> {after}"
            for what, before, after in (
                ("serial", known.serial, fresh.serial), ("mac", known.mac, fresh.mac), ("firmware", known.dialect, fresh.dialect),
            )
            if before and before != after
        ]  # fmt: skip
        if changed:
            swapped.append((known.device, ", ".join(changed)))
        matched[known.device] = fresh
    gone = [
        miner.device
        for miner in register.miners
        if miner.device not in matched and miner.host not in contested and scanned.holds(miner.host)
    ]
    kept = tuple(matched.get(miner.device, miner) for miner in register.miners)
    return Difference(
        register=AssetRegister((*kept, *new), register.phases, register.facts),
        new=tuple(miner.device for miner in new),
        moved=tuple(moved),
        swapped=tuple(swapped),
        doubled=doubled,
        gone=tuple(gone),
        unknown=tuple(
            (one.host, one.note or (one.identity.reported_text if one.identity else ""))
            for one in found
            if one.identity is None or not one.identity.dialect
        ),
    )


def _doubled(found: Sequence[Found]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    claims: dict[str, list[str]] = defaultdict(list)
    for one in found:
        assert one.identity is not None
        if one.identity.serial:
            claims[f"serial {one.identity.serial}"].append(one.host)
        if one.identity.mac not in _NOT_A_MAC:
            claims[f"mac {one.identity.mac}"].append(one.host)
    return tuple((name, tuple(hosts)) for name, hosts in claims.items() if len(set(hosts)) > 1)


def _first_port(ports: tuple[tuple[str, int], ...]) -> int:
    return ports[0][1] if ports else 0


def _refreshed(known: Miner, host: str, identity: Identity) -> Miner:
    """The registered miner with the values reported now; a person's model name stays, since it is more exact."""
    return replace(
        known,
        host=host,
        ports=identity.ports or known.ports,
        dialect=identity.dialect,
        model=known.model or identity.model,
        serial=identity.serial or known.serial,
        mac=identity.mac or known.mac,
    )


def _asset(host: str, identity: Identity, hub: str, site: str, feeder: str) -> Miner:
    """A new asset: its key comes from serial or MAC, or from the address of its first discovery, and stays for ever."""
    mark = identity.serial or (identity.mac if identity.mac not in _NOT_A_MAC else "") or f"{host} {identity.ports}"
    name = "m-" + hashlib.sha256(f"{identity.make} {mark}".encode()).hexdigest()[:12]
    return Miner(
        device=device_key(hub, site, name),
        model=identity.model,
        dialect=identity.dialect,
        host=host,
        ports=identity.ports,
        feeder=feeder,
        serial=identity.serial,
        mac=identity.mac,
    )
