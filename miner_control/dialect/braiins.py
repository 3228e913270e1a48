# SPDX-License-Identifier: Apache-2.0
"""Braiins OS: REST API of 25.07 and later; older releases by the cgminer port, which can only pause.

Releases before 25.07 have no REST: they answer 404 (or nothing) on `/api/v1/`, GraphQL on `/graphql` up to 25.05, gRPC on 50051,
and BOSminer's cgminer API on 4028, which reads everything and knows `pause` and `resume`. Power targets, pools and reboot of
those are Unsupported here, and the receipt names the release needed. A pause is reported by its tuner's texts where it has
them; without, a pause is not verified by the miner itself, and counts as load until a meter shows it.
"""

from collections.abc import Generator, Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Field
from kernel.receipt import Accepted, Receipt, Refused, Unsupported
from miner_control.dialect import braiins_answers, cgminer, image, stock, web
from miner_control.dialect.figures import plain
from miner_control.dialect.gather import gather
from miner_control.fleet.command import (
    STOCK,
    InstallFirmware,
    Intent,
    Locate,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetCredential,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Access, Answer, Http, Request
from telemetry.collect.source import Tier

PORT = 80
_PATHS = {
    "miner_stats": "/api/v1/miner/stats",
    "miner_details": "/api/v1/miner/details",
    "performance_tuner_state": "/api/v1/performance/tuner-state",
    "cooling_state": "/api/v1/cooling/state",
    "miner_hw_hashboards": "/api/v1/miner/hw/hashboards",
    "pools": "/api/v1/pools/",
    "miner_errors": "/api/v1/miner/errors",
    "configuration_miner": "/api/v1/configuration/miner",
}
_FAST = ("miner_stats", "miner_details", "performance_tuner_state", "cooling_state")
_SLOW = ("miner_hw_hashboards", "pools", "miner_errors", "configuration_miner")
_RPC = ("summary", "devs", "pools", "temps", "fans", "tunerstatus")
_RPC_SLOW = (*_RPC, "devdetails")
_TOO_OLD = "this Braiins OS has no REST API: it needs 25.07 or later"


class Braiins:
    """Braiins OS and OS+."""

    name = "braiins"

    def supports(self) -> frozenset[str]:
        return frozenset(
            {"Sleep", "Wake", "PowerTarget", "Reboot", "Locate", "SetPools", "SetCredential"}
            | {"InstallFirmware", "RollBackFirmware"}
        )

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by name: miner_stats, miner_details, cooling_state, ..., or cgminer commands."""
        return braiins_answers.decode(cgminer.documents(answers, lists=("pools",)), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        makers = yield from stock.read(access, tier, now_ms)
        if makers is not None:
            return makers
        answers: dict[str, Any] = {}
        if tier is Tier.DAILY:
            # An older release may have been upgraded meanwhile.
            access.memory.pop("way", None)
        locked: TransportError | None = None
        if access.memory.get("way") != "rpc":
            try:
                yield from self._rest(access, answers, _FAST if tier is Tier.FAST else _FAST + _SLOW, now_ms)
            except (TransportError, DecodeError) as error:
                # A refused password proves the interface: the RPC values are read, but the choice of RPC is not kept.
                locked = error if isinstance(error, TransportError) and error.reason is Absence.REFUSED else None
                timed_out = isinstance(error, TransportError) and error.reason is not Absence.UNREACHABLE
                if (timed_out and not locked) or "rpc" not in access.ports or answers:
                    raise
        if answers:
            return self.decode(answers, tier)
        commands = {Tier.FAST: _RPC, Tier.SLOW: _RPC_SLOW, Tier.DAILY: (*_RPC_SLOW, "version")}[tier]
        try:
            values = self.decode((yield from gather(access, commands, again=tier is Tier.DAILY)), tier)
        except (TransportError, DecodeError) as error:
            raise locked or error from None
        if locked is None:
            access.memory["way"] = "rpc"
        return values

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Log in, so that the next command costs one exchange."""
        if access.memory.get("way") != "rpc":
            refused = yield from self._token(access, now_ms)
            if isinstance(refused, Refused):
                raise TransportError(Absence.REFUSED, f"login: {refused.code} {refused.text}".strip())

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """What is known of the interface from reading saves an exchange; a command does not depend on it."""
        if access.memory.get("way") == "rpc":
            return (yield from self._over_rpc(access, intent))
        try:
            receipt = yield from self._over_rest(access, intent, now_ms)
        except TransportError as error:
            if error.reason is not Absence.UNREACHABLE or "rpc" not in access.ports:
                raise
            receipt = Unsupported(_TOO_OLD)
        if receipt == Unsupported(_TOO_OLD) and isinstance(intent, Sleep | Wake) and "rpc" in access.ports:
            return (yield from self._over_rpc(access, intent))
        return receipt

    def _over_rest(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        method, body = "PUT", None
        match intent:
            case Sleep():
                path = "actions/pause"
            case Wake():
                path = "actions/resume"
            case PowerTarget(power_w):
                path, body = "performance/power-target", {"watt": round(power_w)}
            case Reboot():
                path = "actions/reboot"
            case Locate(on):
                return (yield from self._write(access, method, "actions/locate", on, now_ms))
            case SetPools(pools):
                entries = [
                    {"url": pool.url, "user": pool.user, "password": pool.password, "enabled": True} for pool in pools
                ]
                groups = [{"name": "Default", "pools": entries}]
                return (yield from self._write(access, method, "pools/batch", groups, now_ms))
            case SetCredential(password=password):
                receipt = yield from self._write(access, method, "auth/password", {"password": password}, now_ms)
                access.memory.pop("token", None)
                return receipt
            case InstallFirmware():
                return (yield from self._install(access, intent, now_ms))
            case RollBackFirmware(version) if version == STOCK:
                restore = self._write(access, "POST", "upgrade/restore-stock", None, now_ms)
                return (yield from stock.returning(access, restore))
            case RollBackFirmware():
                return Unsupported(f"Braiins OS {stock.ONLY_STOCK}")
            case _:
                return Unsupported(f"Braiins OS has no {type(intent).__name__}")
        return (yield from self._write(access, method, path, body, now_ms))

    def _install(self, access: Access, intent: InstallFirmware, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """`system-upgrade` is a form: first `metadata` (size, SHA-256, settings kept), then the image as `data`."""
        refused = image.mismatch(intent)
        if refused is not None:
            return refused
        reported = {"size": len(intent.data), "hash": intent.sha256.lower(), "discard_settings": False}
        metadata = orjson.dumps(reported | {"disable_cleanup": False}).decode()
        headers, body = image.multipart((("metadata", metadata),), "data", image.file_name(intent.data), intent)
        return (yield from self._write(access, "POST", "upgrade/system-upgrade", body, now_ms, headers))

    def _rest(
        self, access: Access, answers: dict[str, Any], names: tuple[str, ...], now_ms: int
    ) -> Generator[Request, Answer, None]:
        for name in names:
            answer = yield web.ask(access, PORT, _PATHS[name], _authorization(access))
            if answer.status in (401, 403):
                yield from self._again(access, now_ms, answer)
                answer = yield web.ask(access, PORT, _PATHS[name], _authorization(access))
            if name == names[0]:
                if answer.status == 404:
                    raise DecodeError(name, _TOO_OLD)
                answers[name] = web.page(answer, name)
                continue
            try:
                answers[name] = web.document(answer, name)
            except DecodeError:
                continue

    def _again(self, access: Access, now_ms: int, answer: Answer) -> Generator[Request, Answer, None]:
        """After a rejected token: try the other spelling of the header once, else log in again."""
        if "token" in access.memory and "bare" not in access.memory:
            access.memory["bare"] = True
            return
        access.memory.pop("token", None)
        access.memory.pop("bare", None)
        yield from self._token(access, now_ms)

    def _token(self, access: Access, now_ms: int) -> Generator[Request, Answer, Receipt | None]:
        token = access.memory.get("token")
        if isinstance(token, str) and now_ms < access.memory.get("token_until_ms", 0):
            return None
        login = {"username": access.account, "password": access.password}
        request = web.tell(access, PORT, "POST", "/api/v1/auth/login", login)
        answer = yield Http(request.method, request.path, request.port, request.headers, request.body)
        if not 200 <= answer.status < 300:
            return web.refused(answer)
        reported = web.document(answer, "login")
        if not isinstance(reported, dict) or not reported.get("token"):
            return Refused("login", "no token in the answer")
        access.memory["token"] = str(reported["token"])
        access.memory["token_until_ms"] = now_ms + round((plain(reported.get("timeout_s")) or 3600.0) * 900)
        return None

    def _write(
        self,
        access: Access,
        method: str,
        path: str,
        body: Any,
        now_ms: int,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[Request, Answer, Receipt]:
        for attempt in (1, 2, 3):
            refused = yield from self._token(access, now_ms)
            if refused is not None:
                none = isinstance(refused, Refused) and refused.code in ("404", "405")
                return Unsupported(_TOO_OLD) if none else refused
            with_token = {**_authorization(access), **(headers or {})}
            answer = yield web.tell(access, PORT, method, f"/api/v1/{path}", body, with_token)
            if answer.status != 401 or attempt == 3:
                break
            yield from self._again(access, now_ms, answer)
        return web.accepted(answer)

    def _over_rpc(self, access: Access, intent: Intent) -> Generator[Request, Answer, Receipt]:
        match intent:
            case Sleep():
                command = "pause"
            case Wake():
                command = "resume"
            case _:
                return Unsupported(f"{type(intent).__name__}: {_TOO_OLD}")
        answer = yield cgminer.request(command, access.ports.get("rpc", cgminer.PORT), writes=True)
        document = cgminer.parse(answer.body)
        refused = cgminer.refusal(document)
        if refused:
            return Refused(*refused)
        status = cgminer.section(document, "STATUS")
        return Accepted(str(status[0].get("Msg", ""))) if status else Refused("?", "an answer without STATUS")


def _authorization(access: Access) -> dict[str, str]:
    token = access.memory.get("token")
    if not isinstance(token, str):
        return {}
    return {"Authorization": token if access.memory.get("bare") else f"Bearer {token}"}
