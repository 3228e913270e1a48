# SPDX-License-Identifier: Apache-2.0
"""Identification of the dialect at an unknown address, from the answers of its open ports. Pure; nothing is ever written.

The answer decides, not the port: the cgminer port alone is shared by six firmwares. What is not recognised is returned as
unknown, with the text it reported; a name is never guessed.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence
from miner_control.dialect import cgminer
from miner_control.dialect.avalon_text import avalon_model
from miner_control.dialect.figures import first, mac_text, part, spelt
from miner_control.fleet.driver import Answer, Http, Request, Rpc

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


@dataclass(frozen=True, slots=True)
class Identity:
    """What answered: `dialect` ("" for a miner of unknown kind), and its own texts of make, model and firmware."""

    dialect: str
    make: str = ""
    model: str = ""
    firmware: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    serial: str = ""
    mac: str = ""
    reported_text: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


def identify(ports: Mapping[int, int]) -> Talk:
    """Query an address until it is identified. `ports` maps each well-known port to the one open here (the same, except for
    redirected ones). Returns None where nothing that answers is a miner; raises the last TransportError where a port did
    not answer and nothing else was identified."""
    silent: TransportError | None = None
    for known, question in ((CGMINER, _cgminer), (FRAMED, _framed), (WEB, _web), (FLUX, _flux)):
        if known not in ports:
            continue
        try:
            found = yield from question(ports)
        except TransportError as error:
            silent = error
            continue
        except DecodeError:
            continue
        if found is not None:
            return found
    if silent is not None:
        raise silent
    return None


def _rpc(ports: Mapping[int, int]) -> tuple[tuple[str, int], ...]:
    named = (("rpc", ports.get(CGMINER)), ("http", ports.get(WEB)))
    return tuple((name, port) for name, port in named if port is not None)


def _cgminer(ports: Mapping[int, int]) -> Talk:
    try:
        answer = yield cgminer.request("version", ports[CGMINER])
    except TransportError as error:
        # A web server hangs up on a request that is not HTTP; one that is only slow is not queried twice.
        found = (yield from _epic(ports[CGMINER])) if error.reason is Absence.UNREACHABLE else None
        if found is None:
            raise
        return found
    if answer.body[:5] == b"HTTP/":
        return (yield from _epic(ports[CGMINER]))
    document = cgminer.parse(answer.body)
    version = (cgminer.section(document, "VERSION") or [{}])[0]
    reported = _reported_version(version, ports)
    if reported is not None:
        return reported
    if version:
        old = yield from _by_statistics(ports)
        return old or Identity("", reported_text=str(version)[:200], ports=_rpc(ports))
    return (yield from _whatsminer(ports))


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
    if kind.lower().startswith("antminer") or ("bmminer" in keys and kind):
        return Identity("antminer", "Bitmain", kind, str(version.get("CompileTime", "")), _rpc(ports))
    return None


def _inside(kind: str) -> str:
    """`Antminer S19 (Vnish 1.2.0)` -> `1.2.0`."""
    return kind.partition("(")[2].rstrip(") ").rpartition(" ")[2]


def _whatsminer(ports: Mapping[int, int]) -> Talk:
    document = cgminer.parse((yield cgminer.request("get_version", ports[CGMINER])).body)
    reported = document.get("Msg")
    if not isinstance(reported, Mapping) or "fw_ver" not in reported:
        return (yield from _by_details(ports, ""))
    api = str(reported.get("api_ver", ""))
    if FRAMED in ports and api.startswith("3"):
        found = yield from _framed(ports)
        if found is not None:
            return found
    return (yield from _by_details(ports, str(reported["fw_ver"])))


def _framed(ports: Mapping[int, int]) -> Talk:
    answer = yield Rpc(orjson.dumps({"cmd": "get.device.info"}), ports[FRAMED], length_prefixed=True)
    reported = cgminer.parse(answer.body).get("msg")
    if not isinstance(reported, Mapping) or not isinstance(reported.get("miner"), Mapping):
        return None
    miner, system, network = (part(reported, name) for name in ("miner", "system", "network"))
    return Identity(
        "whatsminer_v3", "MicroBT", spelt(miner.get("type")), spelt(system.get("fwversion")), (("rpc", ports[FRAMED]),),
        serial=spelt(miner.get("miner-sn")), mac=mac_text(network.get("mac")).lower(),
    )  # fmt: skip


def _epic(port: int) -> Talk:
    reported = _object((yield Http("GET", "/capabilities", port)))
    if reported is None or "Model" not in reported:
        return None
    return Identity("epic", "ePIC", str(reported["Model"]), str(reported.get("Software", "")), (("http", port),))


def _web(ports: Mapping[int, int]) -> Talk:
    """Firmwares whose cgminer port is closed: Bitaxe, VNish, Braiins and Antminers with the API switched off."""
    port, ways = ports[WEB], (("http", ports[WEB]),)
    reported = _object((yield Http("GET", "/api/system/info", port)))
    if reported is not None and "ASICModel" in reported:
        return Identity(
            "bitaxe", "Bitaxe", str(reported.get("boardVersion") or reported.get("deviceModel") or reported["ASICModel"]),
            str(reported.get("version", "")), ways, serial=spelt(reported.get("serialnumber")),
            mac=str(reported.get("macAddr") or reported.get("MACAddr") or "").lower(),
        )  # fmt: skip
    if reported is not None and isinstance(reported.get("identity"), dict) and "hwModel" in reported["identity"]:
        relative = reported["identity"]
        return Identity("bitaxe", "Bitaxe", str(relative["hwModel"]), str(relative.get("fwVersion", "")), ways)
    reported = _object((yield Http("GET", "/api/v1/info", port)))
    if reported is not None and "vnish" in str(reported.get("fw_name", reported.get("firmware", ""))).lower():
        return Identity(
            "vnish", "Bitmain", str(reported.get("miner", reported.get("model", ""))), str(reported.get("fw_version", "")), ways,
            serial=spelt(reported.get("serial")),
            mac=str(part(part(reported, "system"), "network_status").get("mac", "")).lower(),
        )  # fmt: skip
    reported = _object((yield Http("GET", "/api/v1/version/", port)))
    if reported is not None and {"major", "minor"} <= set(reported):
        return Identity(
            "braiins", "Bitmain", "", f"api {reported['major']}.{reported['minor']}.{reported.get('patch', 0)}", ways
        )
    answer = yield Http("GET", "/cgi-bin/get_system_info.cgi", port)
    realm = str(answer.headers.get("www-authenticate", "")).lower()
    reported = _object(answer)
    if (answer.status == 401 and "antminer" in realm) or (reported is not None and "minertype" in reported):
        about = reported or {}
        return Identity(
            "antminer", "Bitmain", str(about.get("minertype", "")), str(about.get("system_filesystem_version", "")), ways,
            serial=str(about.get("serinum", "")), mac=str(about.get("macaddr", "")).lower(),
        )  # fmt: skip
    return (yield from _epic(port))


def _flux(ports: Mapping[int, int]) -> Talk:
    reported = _object((yield Http("GET", "/ipreport", ports[FLUX])))
    reports = cgminer.section(reported, "IPReport") if reported is not None else []
    if not reports:
        return None
    report = reports[0]
    return Identity(
        "auradine", "Auradine", str(report.get("model", "")), str(report.get("version", "")), (("http", ports[FLUX]),),
        serial=spelt(report.get("ChassisSerialNo")) or spelt(report.get("SerialNo")), mac=str(report.get("mac", "")).lower(),
    )  # fmt: skip


def _object(answer: Answer) -> dict[str, Any] | None:
    if answer.status not in (0, 200):
        return None
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
