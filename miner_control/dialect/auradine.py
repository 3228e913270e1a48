# SPDX-License-Identifier: Apache-2.0
"""Auradine FluxOS: reads by GCMiner over 4028 or by FluxOS over HTTP 8080; writes over HTTP with a token.

Releases differ in what the cgminer port reports (supply, mode, fans and temperatures in some): commands that it refuses are
read over HTTP, and from then on there at once.
"""

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Field
from kernel.receipt import Accepted, Receipt, Refused, Unsupported
from miner_control.dialect import auradine_answers, cgminer, image, web
from miner_control.dialect.gather import gather
from miner_control.fleet.command import (
    InstallFirmware,
    Intent,
    Locate,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Access, Answer, Http, Request
from telemetry.collect.source import Tier

PORT = 8080
_FAST = ("summary", "psu", "mode", "temperature", "fan")
_SLOW = (*_FAST, "devs", "pools", "asccount", "led", "frequency")
_DAILY = (*_SLOW, "ipreport", "version")
_MODES = ("normal", "eco", "turbo")


class Auradine:
    """Teraflux air, hydro and immersion miners."""

    name = "auradine"

    def supports(self) -> frozenset[str]:
        return frozenset({"Sleep", "Wake", "PowerTarget", "SetMode", "Reboot", "Locate", "SetPools"})

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by command: summary, psu, mode, temperature, fan, devs, pools, ..."""
        return auradine_answers.decode(cgminer.documents(answers), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        commands = {Tier.FAST: _FAST, Tier.SLOW: _SLOW, Tier.DAILY: _DAILY}[tier]
        answers: dict[str, Any] = {}
        if tier is Tier.DAILY:
            access.memory.pop("pages", None)
        pages: frozenset[str] = access.memory.get("pages", frozenset())
        if "rpc" in access.ports:
            by_rpc = tuple(command for command in commands if command not in pages)
            try:
                answers = yield from gather(access, by_rpc, again=tier is Tier.DAILY)
            except TransportError as error:
                if error.reason is not Absence.UNREACHABLE or "http" not in access.ports:
                    raise
        if not answers:
            answers[commands[0]] = yield from _page(access, commands[0])
        left = [command for command in commands if not auradine_answers.has_section(answers, command)]
        lost: TransportError | None = None
        if left and ("http" in access.ports or "rpc" not in access.ports):
            reported, lost = yield from _pages(access, left)
            answers |= reported
            access.memory["pages"] = pages | reported.keys()
        try:
            return auradine_answers.decode(answers, tier)
        except DecodeError as error:
            raise lost or error from None

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Obtain a token, so that the next command costs one exchange."""
        yield from self._token(access)

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        body: dict[str, Any]
        match intent:
            case Sleep():
                path, body = "mode", {"sleep": "on"}
            case Wake():
                path, body = "mode", {"sleep": "off"}
            case PowerTarget(power_w):
                path, body = "mode", {"mode": "custom", "tune": "power", "power": round(power_w)}
            case SetMode(mode) if mode in _MODES:
                path, body = "mode", {"mode": mode}
            case SetMode(mode):
                return Unsupported(f"no mode {mode!r}: {', '.join(_MODES)}")
            case Reboot():
                path, body = "restart", {}
            case Locate(on):
                path, body = "led", {"code": 3 if on else 2, "msg": "locate" if on else "Normal"}
            case SetPools(pools):
                entries = [{"url": pool.url, "user": pool.user, "pass": pool.password} for pool in pools]
                path, body = "updatepools", {"pools": entries}
            case InstallFirmware():
                return Unsupported(f"Auradine firmware (`firmware-upgrade`) {image.FETCHES_ITSELF}")
            case RollBackFirmware():
                return Unsupported("Auradine describes no way back to an earlier release")
            case _:
                return Unsupported(f"Auradine firmware has no {type(intent).__name__}")
        return (yield from self._write(access, path, body))

    def _token(self, access: Access) -> Generator[Request, Answer, str | Receipt]:
        token = access.memory.get("token")
        if isinstance(token, str):
            return token
        body = {"command": "token", "user": access.account, "password": access.password}
        request = web.tell(access, PORT, "POST", "/token", body)
        answer = yield Http(request.method, request.path, request.port, request.headers, request.body)
        if not 200 <= answer.status < 300:
            return web.refused(answer)
        document = web.document(answer, "token")
        for entry in cgminer.section(document if isinstance(document, dict) else {}, "Token"):
            if entry.get("Token"):
                access.memory["token"] = str(entry["Token"])
                return str(entry["Token"])
        return Refused(*(cgminer.refusal(document) or ("token", "no token in the answer")))

    def _write(self, access: Access, path: str, body: dict[str, Any]) -> Generator[Request, Answer, Receipt]:
        for attempt in (1, 2):
            token = yield from self._token(access)
            if not isinstance(token, str):
                return token
            answer = yield web.tell(access, PORT, "POST", f"/{path}", {"command": path, **body}, {"Token": token})
            receipt = _receipt(answer)
            # An expired token is refused by status, or within an answer of status 200.
            lapsed = isinstance(receipt, Refused) and (answer.status in (401, 403) or "token" in receipt.text.lower())
            if lapsed:
                access.memory.pop("token", None)
            if lapsed and attempt == 1:
                continue
            return receipt
        raise AssertionError("two attempts end above")


def _pages(
    access: Access, commands: Iterable[str]
) -> Generator[Request, Answer, tuple[dict[str, Any], TransportError | None]]:
    """The pages that can be read. Where the miner does not answer or denies access, the others are skipped and the error is
    returned."""
    found: dict[str, Any] = {}
    for command in commands:
        try:
            page = yield from _page(access, command)
        except DecodeError:
            continue
        except TransportError as error:
            return found, error
        if auradine_answers.has_section({command: page}, command):
            found[command] = page
    return found, None


def _page(access: Access, command: str) -> Generator[Request, Answer, dict[str, Any]]:
    found = web.page((yield web.ask(access, PORT, f"/{command}")), command)
    return found if isinstance(found, dict) else {}


def _receipt(answer: Answer) -> Receipt:
    if not 200 <= answer.status < 300:
        return web.refused(answer)
    document = web.document(answer, "answer")
    if not isinstance(document, dict):
        return Refused("?", "an answer without STATUS")
    refused = cgminer.refusal(document)
    if refused:
        return Refused(*refused)
    status = cgminer.section(document, "STATUS")
    return Accepted(str(status[0].get("Msg", ""))) if status else Refused("?", "an answer without STATUS")
