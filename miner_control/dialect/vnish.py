# SPDX-License-Identifier: Apache-2.0
"""VNish (xminer-api over HTTP): open reads; writes need `unlock` and a bearer token.

A preset is a power target: its name is its power in watts. A power target therefore becomes the greatest *tuned* preset at
or below it; an untuned one would start hours of tuning, and is never chosen automatically.
"""

import re
from collections.abc import Generator, Mapping
from typing import Any, Final

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Field
from kernel.receipt import Accepted, Receipt, Refused, Unsupported
from miner_control.dialect import cgminer, image, stock, vnish_answers, web
from miner_control.dialect.figures import first
from miner_control.dialect.relative import Relative
from miner_control.fleet.command import (
    STOCK,
    InstallFirmware,
    Intent,
    Locate,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Access, Answer, Http, Request
from telemetry.collect.source import Tier

PORT = 80
_FAST = ("summary", "perf-summary")
_DAILY = ("info", "model")
_WATTS = re.compile(r"^\s*(\d{3,5})")


_OLDER: Final = Relative()
"""VNish of before /api/v1 (1.2): it is read over the cgminer API."""
_TOO_OLD: Final = "this VNish has no /api/v1, which came with 1.2: it is only read"


class VNish:
    """VNish 1.2 and later; older ones are read and not commanded."""

    name = "vnish"

    def supports(self) -> frozenset[str]:
        return frozenset(
            {"Sleep", "Wake", "PowerTarget", "SetMode", "Reboot", "Locate", "SetPools", "SetCredential"}
            | {"InstallFirmware", "RollBackFirmware"}
        )

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by path: summary, perf-summary, status, info, model, settings."""
        return vnish_answers.decode(cgminer.documents(answers), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        makers = yield from stock.read(access, tier, now_ms)
        if makers is not None:
            return makers
        answers: dict[str, Any] = {}
        if tier is Tier.DAILY:
            # It may have been updated meanwhile.
            access.memory.pop("way", None)
        if access.memory.get("way") == "rpc":
            return (yield from _OLDER.read(access, tier, now_ms))
        try:
            answer = yield web.ask(access, PORT, "/api/v1/summary")
        except TransportError as error:
            if error.reason is not Absence.UNREACHABLE or "rpc" not in access.ports:
                raise
            # The page's port is closed: what the other interface reports is better than nothing.
            return (yield from _OLDER.read(access, tier, now_ms))
        if answer.status == 404 and "rpc" in access.ports:
            values = yield from _OLDER.read(access, tier, now_ms)
            access.memory["way"] = "rpc"
            return values
        answers["summary"] = web.page(answer, "summary")
        # While it starts there is no `miner`, and only the status reports its state.
        starts = () if web.nested(answers["summary"], "miner") else ("status",)
        for name in _FAST[1:] + starts + (_DAILY if tier is Tier.DAILY else ()):
            try:
                answers[_key(name)] = web.document((yield web.ask(access, PORT, f"/api/v1/{name}")), name)
            except (TransportError, DecodeError):
                continue
        # The unit of rates is in the daily answer, and applies to every poll.
        measure = web.nested(answers.get("info"), "hr_measure")
        if measure:
            access.memory["hr_measure"] = measure
        elif "hr_measure" in access.memory and "info" not in answers:
            answers["info"] = {"hr_measure": access.memory["hr_measure"]}
        return self.decode(answers, tier)

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Unlock, so that the next command costs one exchange."""
        yield from self._token(access)

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        body: Any = None
        match intent:
            case Sleep():
                path = "mining/stop"
            case Wake():
                path = "mining/start"
            case PowerTarget(power_w):
                return (yield from self._power(access, power_w))
            case SetMode(mode):
                return (yield from self._settings(access, {"miner": {"overclock": {"preset": mode}}}))
            case Reboot():
                path = "system/reboot"
            case Locate(on):
                path, body = "find-miner", {"on": on}
            case SetPools(pools):
                entries = [{"url": pool.url, "user": pool.user, "pass": pool.password} for pool in pools]
                return (yield from self._settings(access, {"miner": {"pools": entries}}))
            case SetCredential(password=password):
                change = {"password": {"current": access.password, "pw": password}}
                receipt = yield from self._settings(access, change)
                access.memory.pop("token", None)
                return receipt
            case InstallFirmware():
                return (yield from self._install(access, intent))
            case RollBackFirmware(version) if version == STOCK:
                return (yield from stock.returning(access, self._remove(access)))
            case RollBackFirmware():
                return Unsupported(f"VNish {stock.ONLY_STOCK}")
            case _:
                return Unsupported(f"VNish has no {type(intent).__name__}")
        answer = yield from self._write(access, path, body)
        return _receipt(answer) if isinstance(answer, Answer) else answer

    def _install(self, access: Access, intent: InstallFirmware) -> Generator[Request, Answer, Receipt]:
        """`firmware/update` is a form: whether settings are kept, and the image as `file`; the miner restarts after."""
        refused = image.mismatch(intent)
        if refused is not None:
            return refused
        form = image.multipart((("keep_settings", "true"),), "file", image.file_name(intent.data), intent)
        answer = yield from self._write(access, "firmware/update", form[1], form[0])
        return _receipt(answer) if isinstance(answer, Answer) else answer

    def _remove(self, access: Access) -> Generator[Request, Answer, Receipt]:
        answer = yield from self._write(access, "firmware/remove", {"remove_stock_logs": False})
        return _receipt(answer) if isinstance(answer, Answer) else answer

    def _power(self, access: Access, power_w: float) -> Generator[Request, Answer, Receipt]:
        for attempt in (1, 2):
            token = yield from self._token(access)
            if not isinstance(token, str):
                return token
            answer = yield web.ask(access, PORT, "/api/v1/autotune/presets", _bearer(token))
            if answer.status != 401 or attempt == 2:
                break
            access.memory.pop("token", None)
        if not 200 <= answer.status < 300:
            return web.refused(answer)
        reported = web.document(answer, "presets")
        presets = web.entries(reported.get("presets") if isinstance(reported, dict) else reported)
        tuned: list[tuple[int, str]] = []
        for preset in presets:
            name = str(preset.get("name", ""))
            watts = _WATTS.match(name) or _WATTS.match(str(preset.get("pretty", "")))
            if watts and str(preset.get("status", "")).lower() == "tuned" and not preset.get("modded_psu_required"):
                tuned.append((int(watts[1]), name))
        fitting = [entry for entry in tuned if entry[0] <= power_w]
        if not fitting:
            return Refused("preset", f"no tuned preset at or below {power_w:.0f} W")
        return (yield from self._settings(access, {"miner": {"overclock": {"preset": max(fitting)[1]}}}))

    def _settings(self, access: Access, change: dict[str, Any]) -> Generator[Request, Answer, Receipt]:
        """Save a setting, and restart mining where the miner reports that it requires that. A sleeping one applies it when
        it wakes: a restart would wake it."""
        answer = yield from self._write(access, "settings", change)
        if not isinstance(answer, Answer):
            return answer
        receipt = _receipt(answer)
        if isinstance(receipt, Accepted) and _reported(answer).get("restart_required") is True:
            status = _reported((yield web.ask(access, PORT, "/api/v1/status")))
            if str(first(status, "miner_state", "state") or "").lower() in vnish_answers.ASLEEP:
                return receipt
            again = yield from self._write(access, "mining/restart", None)
            return _receipt(again) if isinstance(again, Answer) else again
        return receipt

    def _token(self, access: Access) -> Generator[Request, Answer, str | Receipt]:
        token = access.memory.get("token")
        if isinstance(token, str):
            return token
        request = web.tell(access, PORT, "POST", "/api/v1/unlock", {"pw": access.password})
        # Unlocking changes nothing in mining: it may be repeated like a read.
        answer = yield Http(request.method, request.path, request.port, request.headers, request.body)
        if answer.status == 404:
            return Unsupported(_TOO_OLD)
        if not 200 <= answer.status < 300:
            return web.refused(answer)
        reported = web.nested(web.document(answer, "unlock"), "token")
        if not reported:
            return Refused("unlock", "no token in the answer")
        access.memory["token"] = str(reported)
        return str(reported)

    def _write(
        self, access: Access, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> Generator[Request, Answer, Answer | Receipt]:
        for attempt in (1, 2):
            token = yield from self._token(access)
            if not isinstance(token, str):
                return token
            with_token = {**_bearer(token), **(headers or {})}
            answer = yield web.tell(access, PORT, "POST", f"/api/v1/{path}", body, with_token)
            if answer.status == 401 and attempt == 1:
                access.memory.pop("token", None)
                continue
            return answer
        raise AssertionError("two attempts end above")


def _reported(answer: Answer) -> dict[str, Any]:
    """The object of an answer; empty where a success carries none."""
    try:
        found = web.document(answer, "answer")
    except DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _receipt(answer: Answer) -> Accepted | Refused:
    """A good status is acceptance, unless the answer itself reports a failure."""
    reported = _reported(answer)
    if reported.get("success") is False or reported.get("err"):
        return Refused(str(answer.status), str(reported.get("err") or reported.get("message") or "no success"))
    return web.accepted(answer)


def _key(path: str) -> str:
    """The answer name of a path."""
    return path.replace("-", "_").replace("/", "_")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
