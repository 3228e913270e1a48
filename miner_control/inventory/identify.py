# SPDX-License-Identifier: Apache-2.0
"""Identification of the dialect at an unknown address, from the answers of its open ports. Pure; nothing is ever written.

Every open port is asked, the better protocol first, and the answers decide together: the cgminer port alone is shared by six
firmwares. What answers and is not recognised is a miner of unknown family, with its own texts; a name is never guessed.
"""

import re
from collections.abc import Generator, Mapping
from typing import Any, Final

import orjson

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence
from miner_control.dialect import cgminer
from miner_control.dialect.avalon_text import avalon_model
from miner_control.dialect.figures import first, mac_text, part, spelt
from miner_control.fleet.driver import Answer, Request, Rpc
from miner_control.inventory.identified import Identity, cleaned, together
from miner_control.inventory.identify_pages import epic, flux, web

CGMINER: Final = 4028
"""The cgminer API; the web interface of ePIC uses it too."""
FRAMED: Final = 4433
"""Whatsminer v3."""
WEB: Final = 80
FLUX: Final = 8080
"""The web interface of Auradine."""
KNOWN_PORTS: Final = (CGMINER, FRAMED, WEB, FLUX)

_WHATSMINER = re.compile(r"(whatsminer[ _])?M\d", re.IGNORECASE)

Talk = Generator[Request, Answer, "Identity | None"]


def identify(ports: Mapping[int, int]) -> Talk:
    """Query every open port of an address. `ports` maps each well-known port to the one open here (the same, except for
    redirected ones). Returns an identity without a dialect where something answers and is not recognised; raises the last
    TransportError where nothing answers."""
    found: list[Identity] = []
    texts: list[str] = []
    silent: TransportError | None = None
    for known, question in ((FRAMED, _framed), (CGMINER, _cgminer), (WEB, _web), (FLUX, _flux)):
        if known not in ports:
            continue
        try:
            answered = yield from question(ports, texts)
        except TransportError as error:
            silent = error
        except DecodeError as error:
            texts.append(f"port {ports[known]}: {error}")
        else:
            if answered is not None:
                found.append(cleaned(answered))
    if not found and texts:
        found = [cleaned(Identity("", reported_text="; ".join(texts)))]
    if not found and silent is not None:
        raise silent
    return together(found)


def _rpc(ports: Mapping[int, int]) -> tuple[tuple[str, int], ...]:
    named = (("rpc", ports.get(CGMINER)), ("http", ports.get(WEB)))
    return tuple((name, port) for name, port in named if port is not None)


def _cgminer(ports: Mapping[int, int], texts: list[str]) -> Talk:
    try:
        answer = yield cgminer.request("version", ports[CGMINER])
    except TransportError as error:
        # A web server hangs up on a request that is not HTTP; one that is only slow is not queried twice.
        found = (yield from epic(ports[CGMINER], texts)) if error.reason is Absence.UNREACHABLE else None
        if found is None:
            raise
        return found
    if answer.body[:5] == b"HTTP/":
        return (yield from epic(ports[CGMINER], texts))
    document = cgminer.parse(answer.body)
    version = (cgminer.section(document, "VERSION") or [{}])[0]
    reported = _reported_version(version, ports)
    if reported is not None:
        return reported
    found = None if version else (yield from _whatsminer(ports))
    found = found or (yield from _by_statistics(ports))
    return found or Identity("", reported_text=_text_of(version or document), ports=_rpc(ports))


def _text_of(document: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in document.items() if isinstance(value, str | int | float))


def _by_statistics(ports: Mapping[int, int]) -> Talk:
    """Firmwares of before 2020 that report nothing but their cgminer: by their statistics, else by their devices."""
    try:
        stats = cgminer.section(cgminer.parse((yield cgminer.request("stats", ports[CGMINER])).body), "STATS")
    except (TransportError, DecodeError):
        stats = []
    kind = next((str(entry["Type"]) for entry in stats if entry.get("Type")), "")
    reported = (
        _reported_version({"Type": kind, "CompileTime": (stats or [{}])[0].get("CompileTime", "")}, ports)
        if kind
        else None
    )
    if reported is not None:
        return reported
    model = avalon_model({"stats": {"STATS": stats}})
    if model:
        return Identity("avalon", "Canaan", f"Avalon {model}", "", _rpc(ports)[:1])
    return (yield from _by_details(ports, ""))


def _by_details(ports: Mapping[int, int], firmware: str) -> Talk:
    """A Whatsminer by the model among its device details; None for anything else."""
    try:
        details = cgminer.parse((yield cgminer.request("devdetails", ports[CGMINER])).body)
    except (TransportError, DecodeError):
        details = {}
    model = spelt((cgminer.section(details, "DEVDETAILS") or [{}])[0].get("Model"))
    if not firmware and not _WHATSMINER.match(model):
        return None
    return Identity("whatsminer", "MicroBT", model, firmware, (("rpc", ports[CGMINER]),))


def _reported_version(version: Mapping[str, Any], ports: Mapping[int, int]) -> Identity | None:
    """The firmware named by a cgminer `VERSION`."""
    kind, keys = str(version.get("Type", "")), {key.lower() for key in version}
    if "luxminer" in keys:
        return Identity("luxos", "Bitmain", kind, str(version.get("Miner", "")), _rpc(ports))
    if {"bosminer", "bosminer+", "boser"} & keys:
        firmware = str(version.get("BOSer", version.get("BOSminer+", version.get("BOSminer", ""))))
        return Identity("braiins", "Bitmain", kind, firmware, _rpc(ports))
    if "vnish" in kind.lower() or "vnish" in str(version.get("Miner", "")).lower() or "vnish" in keys:
        return Identity("vnish", "Bitmain", kind.split("(")[0].strip(), _inside(kind), _rpc(ports))
    if "gcminer" in keys:
        ways = (("http", ports[FLUX]), ("rpc", ports[CGMINER])) if FLUX in ports else (("rpc", ports[CGMINER]),)
        return Identity("auradine", "Auradine", "", str(version.get("GCMiner", "")), ways)
    if "avalon" in str(version.get("PROD", "")).lower():
        model = f"{version.get('PROD', '')}".replace("AvalonMiner", "Avalon").strip()
        named = (
            model if any(char.isdigit() for char in model) or len(model) > 6 else f"Avalon {version.get('MODEL', '')}"
        )
        return Identity(
            "avalon", "Canaan", named, spelt(first(version, "LVERSION", "VERSION", "CGVERSION")), _rpc(ports)[:1],
            serial=spelt(version.get("DNA")), mac=mac_text(version.get("MAC")).lower(),
        )  # fmt: skip
    if kind.lower().startswith("antminer"):
        return Identity("antminer", "Bitmain", kind, str(version.get("CompileTime", "")), _rpc(ports))
    if {"bmminer", "cgminer", "bdminer"} & keys and kind:
        # A relative: a fork, a relabelled or a foreign firmware that speaks the protocol.
        model, _, firmware = kind.partition(" ")
        return Identity("cgminer", "", model, firmware.strip(), _rpc(ports)[:1])
    return None


def _inside(kind: str) -> str:
    """`Antminer S19 (Vnish 1.2.0)` -> `1.2.0`."""
    return kind.partition("(")[2].rstrip(") ").rpartition(" ")[2]


def _whatsminer(ports: Mapping[int, int]) -> Talk:
    try:
        reported = cgminer.parse((yield cgminer.request("get_version", ports[CGMINER])).body).get("Msg")
    except (TransportError, DecodeError):
        return None
    if not isinstance(reported, Mapping) or "fw_ver" not in reported:
        return None
    return (yield from _by_details(ports, spelt(reported["fw_ver"])))


def _framed(ports: Mapping[int, int], texts: list[str]) -> Talk:
    answer = yield Rpc(orjson.dumps({"cmd": "get.device.info"}), ports[FRAMED], length_prefixed=True)
    reported = cgminer.parse(answer.body).get("msg")
    if not isinstance(reported, Mapping) or not isinstance(reported.get("miner"), Mapping):
        return None
    miner, system, network = (part(reported, name) for name in ("miner", "system", "network"))
    return Identity(
        "whatsminer_v3", "MicroBT", spelt(miner.get("type")), spelt(system.get("fwversion")), (("rpc", ports[FRAMED]),),
        serial=spelt(miner.get("miner-sn")), mac=mac_text(network.get("mac")).lower(),
    )  # fmt: skip


def _web(ports: Mapping[int, int], texts: list[str]) -> Talk:
    return (yield from web(ports[WEB], texts))


def _flux(ports: Mapping[int, int], texts: list[str]) -> Talk:
    return (yield from flux(ports[FLUX], texts))
