# SPDX-License-Identifier: Apache-2.0
"""Whatsminer API v3 (4433): four bytes of length and JSON; writes carry a token of command, password, salt and time.

The token is the first eight characters of base64(SHA-256(command + password + salt + ts)); parameters that hold secrets
are AES-encrypted under that same hash. `ts` is in the miner's own clock (its answers carry `when`), so that a miner whose
clock is a day off accepts commands too.
"""

import base64
import hashlib
from collections.abc import Generator, Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError, TransportError
from kernel.reading import Field
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unsupported
from miner_control.dialect import cgminer, image, whatsminer_v3_status
from miner_control.dialect.maker_errors import WHATSMINER_V3_API
from miner_control.dialect.whatsminer_summary import without_fans
from miner_control.fleet.command import (
    InstallFirmware,
    Intent,
    Locate,
    PowerPercent,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Access, Answer, Request, Rpc
from telemetry.collect.source import Tier

PORT = 4433
_MODES = ("low", "normal", "high")
_PARTS = ("summary", "edevs", "pools")
_ODD_ITEM = "-3"

Reply = Generator[Request, Answer, dict[str, Any]]


class WhatsminerV3:
    """Whatsminer firmware from the end of 2024 on, which no longer answers API v2."""

    name = "whatsminer_v3"

    def supports(self) -> frozenset[str]:
        return frozenset(
            {"Sleep", "Wake", "PowerTarget", "PowerPercent", "SetMode", "Reboot", "Locate", "SetPools", "SetCredential"}
            | {"InstallFirmware"}
        )

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers: get.device.info, and get.miner.status by part (any spelling of the names)."""
        return whatsminer_v3_status.decode(cgminer.documents(answers), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        answers: dict[str, Any] = {}
        if tier is Tier.FAST:
            answers["summary"] = yield from _ask(access, "get.miner.status", "summary")
            if whatsminer_v3_status.doubtful(answers):
                # Whole, not filtered to the miner: only together with its errors does "not working" prove sleep.
                yield from _also(access, answers, "device_info", "get.device.info")
        else:
            yield from self._parts(access, answers)
            yield from _also(access, answers, "device_info", "get.device.info")
            yield from _also(access, answers, "system_setting", "get.system.setting")
            self._remember(access, answers.get("device_info") or {}, now_ms)
        return without_fans(access.memory, whatsminer_v3_status.decode(answers, tier))

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Read the salt and the miner's clock; both are kept, so that the next command costs one exchange."""
        yield from self._salt(access, now_ms)

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        param: Any = None
        match intent:
            case Sleep():
                command, param = "set.miner.service", "stop"
            case Wake():
                command, param = "set.miner.service", "start"
            case PowerTarget(power_w):
                if not 0 <= power_w <= 99_999:
                    return Unsupported("a power limit is 0 to 99999 W")
                command, param = "set.miner.power_limit", round(power_w)
            case PowerPercent(percent):
                return (yield from self._percent(access, round(percent), now_ms))
            case SetMode(mode) if mode in _MODES:
                command, param = "set.miner.power_mode", mode
            case SetMode(mode):
                return Unsupported(f"no mode {mode!r}: {', '.join(_MODES)}")
            case Reboot():
                command = "set.system.reboot"
            case Locate(True):
                command = "set.system.led"
                param = [{"color": "red", "period": 200, "duration": 100, "start": 0}]
            case Locate(False):
                command, param = "set.system.led", "auto"
            case SetPools(pools) if 1 <= len(pools) <= 3:
                command = "set.miner.pools"
                param = [{"pool": pool.url, "worker": pool.user, "passwd": pool.password} for pool in pools]
                return (yield from self._write(access, command, param, now_ms, secret=True))
            case SetPools():
                return Unsupported("one to three pools")
            case SetCredential(account=account, password=password):
                command, param = "set.user.change_passwd", {"account": account, "new": password, "old": access.password}
                return (yield from self._write(access, command, param, now_ms, secret=True))
            case InstallFirmware():
                return (yield from self._install(access, intent, now_ms))
            case RollBackFirmware():
                return Unsupported(f"Whatsminer v3 firmware {image.KEEPS_NONE}")
            case _:
                return Unsupported(f"Whatsminer v3 firmware has no {type(intent).__name__}")
        return (yield from self._write(access, command, param, now_ms))

    def _install(self, access: Access, intent: InstallFirmware, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """`set.system.update_firmware` is answered by `ready`; then the image goes over the same connection, framed like a
        message, and a second answer comes."""
        refused = image.mismatch(intent)
        if refused is not None:
            return refused
        ready = yield from self._write(access, "set.system.update_firmware", None, now_ms, keeps_line=True)
        if not isinstance(ready, Accepted):
            return ready
        if ready.text.strip().lower() != "ready":
            return Refused("ready", f"the miner did not say that it is ready, but {ready.text!r}")
        request = Rpc((intent.data,), access.ports.get("rpc", PORT), length_prefixed=True, writes=True)
        return _receipt(cgminer.parse((yield request).body))

    def _percent(self, access: Access, percent: int, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """Mode `fast`: settles within a second, and ends with the next start. The first releases took the number alone."""
        command = "set.miner.power_percent"
        receipt = yield from self._write(access, command, {"percent": percent, "mode": "fast"}, now_ms)
        if isinstance(receipt, Refused) and receipt.code == _ODD_ITEM:
            receipt = yield from self._write(access, command, percent, now_ms)
        return receipt

    def _parts(self, access: Access, answers: dict[str, Any]) -> Generator[Request, Answer, None]:
        if access.memory.get("joined") is not False:
            try:
                document = yield from _ask(access, "get.miner.status", "+".join(_PARTS))
            except DecodeError:
                document = {}
            message = document.get("msg")
            if isinstance(message, dict) and all(part in message for part in _PARTS):
                answers["summary"] = document
                return
            access.memory["joined"] = False
        for part in _PARTS:
            answers[part] = yield from _ask(access, "get.miner.status", part)

    def _remember(self, access: Access, document: Mapping[str, Any], now_ms: int) -> None:
        message, when = document.get("msg"), document.get("when")
        if isinstance(message, dict) and isinstance(message.get("salt"), str):
            access.memory["salt"] = message["salt"]
        if isinstance(when, int | float) and when > 0:
            access.memory["clock_ahead_s"] = round(when - now_ms / 1000)

    def _salt(self, access: Access, now_ms: int) -> Generator[Request, Answer, str | Receipt]:
        salt = access.memory.get("salt")
        if isinstance(salt, str):
            return salt
        document = yield from _ask(access, "get.device.info")
        self._remember(access, document, now_ms)
        salt = access.memory.get("salt")
        return salt if isinstance(salt, str) else Refused("salt", "get.device.info tells no salt")

    def _write(
        self,
        access: Access,
        command: str,
        param: Any,
        now_ms: int,
        secret: bool = False,
        keeps_line: bool = False,
    ) -> Generator[Request, Answer, Receipt]:
        salt = yield from self._salt(access, now_ms)
        if not isinstance(salt, str):
            return salt
        ts = now_ms // 1000 + int(access.memory.get("clock_ahead_s", 0))
        body = signed(command, param, access.account, access.password, salt, ts, secret)
        port = access.ports.get("rpc", PORT)
        answer = yield Rpc(body, port, length_prefixed=True, writes=True, keeps_line=keeps_line)
        receipt = _receipt(cgminer.parse(answer.body))
        if isinstance(receipt, Refused) or command == "set.user.change_passwd":
            # The reason of a refusal may be an old salt or a changed clock: both are read again before the next write.
            access.memory.pop("salt", None)
        return receipt


def signed(command: str, param: Any, account: str, password: str, salt: str, ts: int, secret: bool = False) -> bytes:
    """A write request as the content of a frame."""
    digest = hashlib.sha256(f"{command}{password}{salt}{ts}".encode()).digest()
    body: dict[str, Any] = {
        "cmd": command,
        "ts": ts,
        "token": base64.b64encode(digest).decode()[:8],
        "account": account,
    }
    if param is not None:
        body["param"] = _sealed(digest, param) if secret else param
    return orjson.dumps(body)


def _sealed(key: bytes, param: Any) -> str:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    plain = orjson.dumps(param)
    plain += b"\x00" * (-len(plain) % 16)
    engine = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return base64.b64encode(engine.update(plain) + engine.finalize()).decode()


def _ask(access: Access, command: str, param: Any = None) -> Reply:
    body: dict[str, Any] = {"cmd": command}
    if param is not None:
        body["param"] = param
    answer = yield Rpc(orjson.dumps(body), access.ports.get("rpc", PORT), length_prefixed=True)
    return cgminer.parse(answer.body)


def _also(access: Access, answers: dict[str, Any], name: str, command: str) -> Generator[Request, Answer, None]:
    """One more command; where it fails it is left out, and its metrics are Missing."""
    try:
        answers[name] = yield from _ask(access, command)
    except (TransportError, DecodeError):
        pass


def _receipt(document: Mapping[str, Any]) -> Receipt:
    code, message = document.get("code"), document.get("msg", document.get("Msg", ""))
    text = message if isinstance(message, str) else orjson.dumps(message).decode()
    if code is None:
        refused = cgminer.refusal(document)
        return Refused(*refused) if refused else Unknown("an answer without a code")
    if str(code) in ("0", "131"):
        return Accepted(text)
    return Refused(str(code), text or WHATSMINER_V3_API.get(str(code), ""))
