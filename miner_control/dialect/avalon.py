# SPDX-License-Identifier: Apache-2.0
"""Avalon (4028): cgminer with its values in one bracket text, `Key[value] Key[value]`; single-threaded and slow.

Sleep and wake are timed by the miner's own clock: `ascset 0,softoff,1:<unix time>`. The miner's clock is read first (any
reply carries `When`), and the time is set a few seconds ahead of it, so that a clock that is a day off does not turn "now"
into "never". The A10, which reports no `SoftOFF`, has no timed sleep: the power of its boards is switched off, and a reboot
brings them back.
"""

import re
from collections.abc import Generator, Mapping
from typing import Any

from kernel.reading import Field
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unsupported
from miner_control.dialect import avalon_text, cgminer
from miner_control.dialect.figures import NOT_APPLICABLE, spelt
from miner_control.dialect.gather import also, gather
from miner_control.fleet.command import (
    InstallFirmware,
    Intent,
    Locate,
    Reboot,
    RollBackFirmware,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Access, Answer, Request
from miner_control.fleet.miner import State
from telemetry.collect.source import Tier

_STATISTICS = ("estats", "stats", "litestats")
_WORK_MODE = re.compile(r"WORKMODE\[(\d+)\]")
_UNKNOWN = "14"
_AHEAD_S = 5
_LEAST_AHEAD_S = 2


class Avalon:
    """Avalon A10 to A16, Q, Mini and Nano."""

    name = "avalon"

    def supports(self) -> frozenset[str]:
        return frozenset({"Sleep", "Wake", "SetMode", "Reboot", "Locate", "SetPools", "SetCredential"})

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by command: estats (or stats, litestats), summary, pools, version, devs."""
        return avalon_text.decode(cgminer.documents(answers), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        stats = str(access.memory.get("stats", "estats"))
        commands = ("summary", stats) if tier is Tier.FAST else ("summary", stats, "pools")
        answers = yield from gather(access, commands, again=tier is Tier.DAILY)
        if not avalon_text.figures(answers):
            # Some firmwares answer one of them with an empty text, or not at all: another one is used from now on.
            for other in _STATISTICS:
                if other != stats and not avalon_text.figures(answers):
                    yield from also(access, answers, other)
                    if avalon_text.figures(answers):
                        access.memory["stats"] = other
        if tier is Tier.DAILY:
            yield from also(access, answers, "version")
        self._remember(access, answers, now_ms)
        values = avalon_text.decode(answers, tier)
        if values["state"] == State.STOPPED and access.memory.get("powered_off"):
            # The boards were switched off by a command of the hub.
            values["state"] = State.ASLEEP.value
            values["hashrate_window_s"] = NOT_APPLICABLE
        return values

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Read the offset of the miner's clock, so that the next command costs one exchange."""
        answer = yield cgminer.request("version", access.ports.get("rpc", cgminer.PORT))
        self._remember(access, {"version": cgminer.parse(answer.body)}, now_ms)

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        old = access.memory.get("appointments") is False
        match intent:
            case Sleep() if old:
                argument = "hashpower,0"
            case Wake() if old:
                argument = "reboot,0"
            case Sleep() | Wake():
                if "clock_ahead_s" not in access.memory:
                    yield from self.prepare(access, now_ms)
                ahead_s = _AHEAD_S if "clock_ahead_s" in access.memory else _LEAST_AHEAD_S
                at_s = now_ms // 1000 + int(access.memory.get("clock_ahead_s", 0)) + ahead_s
                verb = "softoff" if isinstance(intent, Sleep) else "softon"
                argument = f"{verb},1:{at_s}"
            case SetMode(mode):
                if "family" not in access.memory:
                    yield from self.prepare(access, now_ms)
                family = str(access.memory.get("family", "q"))
                number = avalon_text.mode_number(mode, family)
                if number is None:
                    return Unsupported(f"no work mode {mode!r}")
                # The A models read the field after the comma as the number: `set` would be zero.
                argument = f"workmode,{number}" if family == "a" else f"workmode,set,{number}"
            case Reboot():
                argument = "reboot,0"
            case Locate(on):
                argument = f"led,1-{1 if on else 0}"
            case SetPools(pools):
                return (yield from self._pools(access, pools))
            case SetCredential(password=password):
                argument = f"password,{access.password},{password}"
            case InstallFirmware() | RollBackFirmware():
                return Unsupported("Avalon's API describes neither an upload of firmware nor a way back")
            case _:
                return Unsupported(f"Avalon has no {type(intent).__name__}")
        receipt = yield from self._write(access, "ascset", f"0,{argument}")
        if isinstance(receipt, Accepted) and isinstance(intent, Sleep | Wake | Reboot):
            access.memory["powered_off"] = argument == "hashpower,0"
        return receipt

    def _write(self, access: Access, command: str, parameter: str) -> Generator[Request, Answer, Receipt]:
        request = cgminer.request(command, access.ports.get("rpc", cgminer.PORT), parameter, writes=True)
        document = cgminer.parse((yield request).body)
        refused = cgminer.refusal(document)
        if refused:
            return Refused(*refused)
        status = cgminer.section(document, "STATUS")
        letter = spelt(status[0].get("STATUS")).upper() if status else ""
        if not letter:
            return Unknown("an answer without STATUS")
        text = str(status[0].get("Msg", ""))
        # An informative reply (`I`) may report success, echo the setting, or list the known commands: the last is no
        # acceptance, nor is an echo of another value than the one sent.
        informative = letter == "I"
        echo = _WORK_MODE.search(text)
        otherwise = echo is not None and not parameter.endswith(f",{echo[1]}")
        if informative and (otherwise or "help" in text.lower() or text.count("|") > 1 or not text.strip()):
            return Refused(str(status[0].get("Code", "")), text)
        return Accepted(text)

    def _pools(self, access: Access, pools: Any) -> Generator[Request, Answer, Receipt]:
        """`setpool account,password,index,url,user,pass` for each place; used after the next reboot. The A10 has one place:
        `ascset 0,setpool,account,password,url,user,pass`."""
        receipt: Receipt = Refused("pools", "no pool given")
        for index, pool in enumerate(pools[:3]):
            reported = f"{pool.url},{pool.user},{pool.password}"
            receipt = yield from self._write(
                access, "setpool", f"{access.account},{access.password},{index},{reported}"
            )
            if isinstance(receipt, Refused) and receipt.code == _UNKNOWN and index == 0:
                return (
                    yield from self._write(access, "ascset", f"0,setpool,{access.account},{access.password},{reported}")
                )
            if not isinstance(receipt, Accepted):
                break
        return receipt

    def _remember(self, access: Access, answers: Mapping[str, Any], now_ms: int) -> None:
        modules = avalon_text.figures(answers)
        if modules:
            access.memory["appointments"] = any("SoftOFF" in module for module in modules)
        if modules or answers.get("version"):
            access.memory["family"] = avalon_text.family_of(answers)
        for document in answers.values():
            for status in cgminer.section(document, "STATUS"):
                when = str(status.get("When", "")).strip()
                if when.isdigit() and int(when) > 0:
                    access.memory["clock_ahead_s"] = round(int(when) - now_ms / 1000)
                    return
