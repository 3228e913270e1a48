# SPDX-License-Identifier: Apache-2.0
"""Identification by what a device answers over HTTP. Pure; only pages that nothing depends on are read.

`texts` collects what it answered, in its own terms: realm, title, redirect, or the beginning of a document.
"""

import re
from collections.abc import Generator, Mapping
from typing import Any, Final

from kernel.errors import DecodeError, TransportError
from kernel.foreign_json import foreign_json
from kernel.reading import Absence
from miner_control.dialect import cgminer
from miner_control.dialect.figures import part, spelt
from miner_control.fleet.driver import Answer, Http, Request
from miner_control.inventory.identified import Identity, one_line

Talk = Generator[Request, Answer, "Identity | None"]

_TITLE: Final = re.compile(r"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_REALM: Final = re.compile(r'realm="([^"]{1,200})"', re.IGNORECASE)
_OK: Final = (0, 200)


def epic(port: int, texts: list[str]) -> Talk:
    """ePIC, on its web port or on the cgminer port."""
    reported = yield from _object(port, "/capabilities", texts)
    if reported is None or "Model" not in reported:
        return None
    return Identity("epic", "ePIC", spelt(reported["Model"]), spelt(reported.get("Software")), (("http", port),))


def web(port: int, texts: list[str]) -> Talk:
    """Bitaxe, VNish, Proto, Braiins, Antminers, MSKMiner and ePIC by their pages; the most particular first."""
    hung_up: TransportError | None = None
    answered = len(texts)
    for ask in (_bitaxe, _vnish, _proto, _braiins, _antminer, _mskminer, epic):
        try:
            found = yield from ask(port, texts)
        except TransportError as error:
            # Some hang up on a page that they do not have; one that is only slow is not asked for six more.
            if error.reason is not Absence.UNREACHABLE:
                raise
            hung_up = error
            continue
        if found is not None:
            return found
    if hung_up is not None and len(texts) == answered:
        raise hung_up
    return None


def flux(port: int, texts: list[str]) -> Talk:
    """Auradine."""
    reported = yield from _object(port, "/ipreport", texts)
    reports = cgminer.section(reported, "IPReport") if reported is not None else []
    if not reports:
        return None
    report = reports[0]
    return Identity(
        "auradine", "Auradine", spelt(report.get("model")), spelt(report.get("version")), (("http", port),),
        serial=spelt(report.get("ChassisSerialNo")) or spelt(report.get("SerialNo")), mac=spelt(report.get("mac")),
    )  # fmt: skip


def _bitaxe(port: int, texts: list[str]) -> Talk:
    reported = yield from _object(port, "/api/system/info", texts)
    if reported is None:
        return None
    if "ASICModel" in reported:
        return Identity(
            "bitaxe", "Bitaxe", spelt(reported.get("boardVersion") or reported.get("deviceModel") or reported["ASICModel"]),
            spelt(reported.get("version")), (("http", port),), serial=spelt(reported.get("serialnumber")),
            mac=spelt(reported.get("macAddr") or reported.get("MACAddr")),
        )  # fmt: skip
    relative = part(reported, "identity")
    if "hwModel" not in relative:
        return None
    return Identity("bitaxe", "Bitaxe", spelt(relative["hwModel"]), spelt(relative.get("fwVersion")), (("http", port),))


def _vnish(port: int, texts: list[str]) -> Talk:
    reported = yield from _object(port, "/api/v1/info", texts)
    if reported is None or "vnish" not in spelt(reported.get("fw_name", reported.get("firmware"))).lower():
        return None
    return Identity(
        "vnish", "Bitmain", spelt(reported.get("miner", reported.get("model"))), spelt(reported.get("fw_version")),
        (("http", port),), serial=spelt(reported.get("serial")),
        mac=spelt(part(part(reported, "system"), "network_status").get("mac")),
    )  # fmt: skip


def _proto(port: int, texts: list[str]) -> Talk:
    """Proto Rig: named, not yet read."""
    reported = yield from _object(port, "/api/v1/system", texts)
    system = part(reported or {}, "system-info")
    if "proto" not in spelt(system.get("manufacturer")).lower():
        return None
    version = spelt(part(system, "os").get("version"))
    texts[:] = [f"{spelt(system.get('product_name') or system.get('model'))} {version}"]
    return None


def _braiins(port: int, texts: list[str]) -> Talk:
    reported = yield from _object(port, "/api/v1/version/", texts)
    if reported is None or not {"major", "minor"} <= set(reported):
        return None
    version = f"api {reported['major']}.{reported['minor']}.{reported.get('patch', 0)}"
    return Identity("braiins", "Bitmain", "", version, (("http", port),))


def _antminer(port: int, texts: list[str]) -> Talk:
    """Stock Antminers: by the realm of their page or by their system info. The CGI is shared by makers of other coins."""
    answer = yield Http("GET", "/cgi-bin/get_system_info.cgi", port)
    _hear(answer, port, texts)
    reported = _document(answer)
    if reported is None:
        realm = _REALM.search(answer.headers.get("www-authenticate", ""))
        stock = answer.status == 401 and realm is not None and realm[1].lower().startswith("antminer")
        return Identity("antminer", "Bitmain", ports=(("http", port),)) if stock else None
    kind, algorithm = spelt(reported.get("minertype")), spelt(reported.get("Algorithm"))
    if not kind.lower().startswith("antminer") or (algorithm and not algorithm.lower().startswith("sha256")):
        texts[:] = [f"{kind} {algorithm} {spelt(reported.get('system_filesystem_version'))}"] if kind else texts
        return None
    return Identity(
        "antminer", "Bitmain", kind, spelt(reported.get("system_filesystem_version")), (("http", port),),
        serial=spelt(reported.get("serinum")), mac=spelt(reported.get("macaddr")),
    )  # fmt: skip


def _mskminer(port: int, texts: list[str]) -> Talk:
    """MSKMiner: named; it is read over the cgminer API."""
    network = part(part((yield from _object(port, "/api/info_v1", texts)) or {}, "network_info"), "result")
    if "macaddr" in network:
        texts[:] = ["MSKMiner", spelt(network["macaddr"])]
    return None


def _object(port: int, path: str, texts: list[str]) -> Generator[Request, Answer, "dict[str, Any] | None"]:
    answer = yield Http("GET", path, port)
    _hear(answer, port, texts)
    return _document(answer)


def _document(answer: Answer) -> dict[str, Any] | None:
    if answer.status not in _OK:
        return None
    try:
        found = foreign_json(answer.body, "page")
    except DecodeError:
        return None
    return found if isinstance(found, dict) else None


def _hear(answer: Answer, port: int, texts: list[str]) -> None:
    """Keep who the device says it is: its server, realm, redirect and title, once each."""
    headers: Mapping[str, str] = answer.headers
    page = answer.body[:4096].decode("utf-8", "replace")
    realm, title = _REALM.search(headers.get("www-authenticate", "")), _TITLE.search(page)
    named = (
        headers.get("server", ""), realm[1] if realm else "", headers.get("location", ""), title[1] if title else "",
        page[:120] if page.lstrip().startswith("{") and answer.status in _OK else "",
    )  # fmt: skip
    heard = [text for each in named if (text := one_line(each))] or [f"HTTP {answer.status} on port {port}"]
    texts.extend(each for each in heard if each not in texts)
