# SPDX-License-Identifier: Apache-2.0
"""Whatsminer API v1 and v2 (4028): plain reads, writes with a token and AES.

cgminer's own commands may be joined; `status` and all `get_*` may not. Fast tier: `summary` alone, and `status` when the
hashrate is zero, because only `mineroff` proves sleep. The write API is off by default and then refuses every write with
code 45. After code 135 (token no longer known) a new token is made and the command sent once more: the refusal proves that
the first had no effect.
"""

from collections.abc import Generator, Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unsupported
from miner_control.dialect import cgminer, image, whatsminer_summary
from miner_control.dialect.gather import also, gather
from miner_control.dialect.maker_errors import WHATSMINER_API
from miner_control.dialect.whatsminer_token import Token, make_token, opened, sealed
from miner_control.fleet.command import (
    InstallFirmware,
    Intent,
    Locate,
    Pool,
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

_JOINED = ("summary", "devs", "pools")
_SLOW = ("status", "get_error_code")
_DAILY = ("devdetails", "get_version", "get_psu", "get_miner_info")
_MODES = {"low": "set_low_power", "normal": "set_normal_power", "high": "set_high_power"}
_TOKEN_GONE = ("135", "136")


class Whatsminer:
    """M20 to M6x with firmware before the v3 API (it answers `get_token`)."""

    name = "whatsminer"

    def supports(self) -> frozenset[str]:
        return frozenset(
            {"Sleep", "Wake", "PowerTarget", "PowerPercent", "SetMode", "Reboot", "Locate", "SetPools", "SetCredential"}
            | {"InstallFirmware"}
        )

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by command: summary, devs, pools, status, get_psu, get_version, ..."""
        return whatsminer_summary.decode(cgminer.documents(answers), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        answers: dict[str, Any] = {}
        if tier is Tier.FAST:
            answer = yield cgminer.request("summary", access.ports.get("rpc", cgminer.PORT))
            try:
                answers["summary"] = cgminer.parse(answer.body)
            except DecodeError:
                # A miner that is off may answer nothing here, and `status` nevertheless.
                pass
            if whatsminer_summary.doubtful(answers):
                yield from also(access, answers, "status")
        else:
            try:
                answers = yield from gather(access, _JOINED, again=tier is Tier.DAILY)
            except DecodeError:
                # As above.
                pass
            if not whatsminer_summary.reports_boards(answers):
                # The newer name of the same command.
                yield from also(access, answers, "edevs")
            for command in _SLOW + (_DAILY if tier is Tier.DAILY else ()):
                yield from also(access, answers, command)
        return whatsminer_summary.without_fans(access.memory, whatsminer_summary.decode(answers, tier))

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Obtain the token that signs the next command."""
        yield from self._token(access, now_ms)

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        match intent:
            case Sleep():
                command = {"cmd": "power_off", "respbefore": "true"}
            case Wake():
                command = {"cmd": "power_on"}
            case PowerTarget(power_w):
                command = {"cmd": "adjust_power_limit", "power_limit": str(round(power_w))}
            case PowerPercent(percent):
                return (yield from self._percent(access, percent, now_ms))
            case SetMode(mode) if mode in _MODES:
                command = {"cmd": _MODES[mode]}
            case SetMode(mode):
                return Unsupported(f"no mode {mode!r}: {', '.join(_MODES)}")
            case Reboot():
                command = {"cmd": "reboot"}
            case Locate(True):
                command = {"cmd": "set_led", "color": "red", "period": 60, "duration": 20, "start": 0}  # type: ignore[dict-item]
            case Locate(False):
                command = {"cmd": "set_led", "param": "auto"}
            case SetPools(pools) if 1 <= len(pools) <= 3:
                # Code 132 where one of the nine keys is missing; an empty place also clears the pool that stood there.
                places = (*pools, Pool("", "", ""), Pool("", "", ""))[:3]
                command = {"cmd": "update_pools"}
                for index, pool in enumerate(places, 1):
                    command |= {f"pool{index}": pool.url, f"worker{index}": pool.user, f"passwd{index}": pool.password}
            case SetPools():
                return Unsupported("one to three pools")
            case SetCredential(password=password):
                command = {"cmd": "update_pwd", "old": access.password, "new": password}
            case InstallFirmware():
                return (yield from self._install(access, intent, now_ms))
            case RollBackFirmware():
                return Unsupported(f"Whatsminer firmware {image.KEEPS_NONE}")
            case _:
                return Unsupported(f"Whatsminer firmware has no {type(intent).__name__}")
        return (yield from self._write(access, command, now_ms))

    def _install(self, access: Access, intent: InstallFirmware, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """`update_firmware` is answered by `ready`; then, over the same connection, size and image, and a second answer."""
        refused = image.mismatch(intent)
        if refused is not None:
            return refused
        ready = yield from self._write(access, {"cmd": "update_firmware"}, now_ms, keeps_line=True)
        if not isinstance(ready, Accepted):
            return ready
        if ready.text.strip().lower() != "ready":
            return Refused("ready", f"the miner did not say that it is ready, but {ready.text!r}")
        size = len(intent.data).to_bytes(4, "little")
        answer = yield Rpc((size, intent.data), access.ports.get("rpc", cgminer.PORT), writes=True)
        token = access.memory.pop("token", None)
        return _receipt(token, answer) if isinstance(token, Token) else Unknown("no token to read the answer with")

    def _percent(self, access: Access, percent: float, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """`set_power_pct` before API 2.0.5, `_v2` from then on: the one refused as unknown is not tried again."""
        names = [name for name in ("set_power_pct", "set_power_pct_v2") if not access.memory.get(f"no_{name}")]
        receipt: Receipt = Unsupported("neither set_power_pct nor set_power_pct_v2")
        for name in names:
            receipt = yield from self._write(access, {"cmd": name, "percent": str(round(percent))}, now_ms)
            if not (isinstance(receipt, Refused) and receipt.code == "14"):
                break
            access.memory[f"no_{name}"] = True
        return receipt

    def _token(self, access: Access, now_ms: int) -> Generator[Request, Answer, Token | Receipt]:
        token = access.memory.get("token")
        if isinstance(token, Token) and now_ms < token.until_ms:
            return token
        answer = yield Rpc(orjson.dumps({"cmd": "get_token"}), access.ports.get("rpc", cgminer.PORT))
        document = cgminer.parse(answer.body)
        message = document.get("Msg")
        if not isinstance(message, dict) or not {"time", "salt", "newsalt"} <= message.keys():
            code, text = cgminer.refusal(document) or (str(document.get("Code", "")), str(message))
            return Refused(code, f"no token: {text}")
        token = make_token(access.password, message, now_ms)
        access.memory["token"] = token
        return token

    def _write(
        self, access: Access, command: dict[str, Any], now_ms: int, keeps_line: bool = False
    ) -> Generator[Request, Answer, Receipt]:
        for attempt in (1, 2):
            token = yield from self._token(access, now_ms)
            if not isinstance(token, Token):
                return token
            port = access.ports.get("rpc", cgminer.PORT)
            answer = yield Rpc(sealed(token, command), port, writes=True, keeps_line=keeps_line)
            receipt = _receipt(token, answer)
            if isinstance(receipt, Refused) and receipt.code in _TOKEN_GONE and attempt == 1:
                access.memory.pop("token", None)
                continue
            if isinstance(receipt, Accepted) and command["cmd"] in ("update_pwd", "reboot"):
                access.memory.pop("token", None)
            return receipt
        raise AssertionError("two attempts end above")


def _receipt(token: Token, answer: Answer) -> Receipt:
    """Receipt of a write, from an answer that may be encrypted."""
    document = cgminer.parse(answer.body)
    try:
        plain = opened(token, document)
        if plain is not None:
            document = cgminer.parse(plain)
    except (ValueError, DecodeError) as error:
        # The answer is under another key: the write may have had an effect, and the answer cannot be read.
        return Unknown(f"the answer cannot be decrypted: {error}")
    refused = cgminer.refusal(document)
    if refused:
        return Refused(refused[0], refused[1] or WHATSMINER_API.get(refused[0], ""))
    # Either flat, or in a list of one.
    listed = document.get("STATUS")
    reported = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else document
    code, text = str(reported.get("Code", "")), reported.get("Msg")
    if str(reported.get("STATUS", "")).upper()[:1] == "S" or code == "131":
        return Accepted(text if isinstance(text, str) else orjson.dumps(text).decode())
    return Refused(code, str(text)) if code else Unknown("an answer that says neither yes nor no")
