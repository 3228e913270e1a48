# SPDX-License-Identifier: Apache-2.0
"""LuxOS (4028): reads by cgminer and its own commands; writes within the only session of a miner.

`curtail sleep` and `wakeup` are the firmware's own commands to shed; sleep outlives a reboot and is reported by `CurtailMode`
in `config`. A power target is set in watts where model and release support it, else as the highest profile below it. A
session held by another party (or by a hub that was killed) is not taken over: it expires by itself when unused, so the miner
counts as unreachable and is commanded again until the deadline. The hub's own is released after each write, unless it was
obtained in advance.
"""

from collections.abc import Generator, Mapping
from typing import Any

from kernel.errors import TransportError
from kernel.reading import Field
from kernel.receipt import Accepted, Receipt, Refused, Unreachable, Unsupported
from miner_control.dialect import cgminer, image, luxos_answers
from miner_control.dialect.figures import plain, whole
from miner_control.dialect.gather import also, gather
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
from miner_control.fleet.driver import Access, Answer, Request
from telemetry.collect.source import Tier

_FAST = ("summary", "power", "config", "temps")
_SLOW = ("summary", "power", "config", "devs", "pools", "temps", "fans", "stats")
_DAILY = ("version",)
_OTHER_SESSION = "session"
_TARGETS = "targets_power"
_NO_COMMAND = "14"


class LuxOS:
    """LuxOS 2023 and later."""

    name = "luxos"

    def supports(self) -> frozenset[str]:
        return frozenset({"Sleep", "Wake", "PowerTarget", "SetMode", "Reboot", "Locate", "SetPools"})

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by command: summary, power, config, devs, pools, temps, fans, stats, events, version."""
        return luxos_answers.decode(cgminer.documents(answers), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        commands = _FAST if tier is Tier.FAST else _SLOW
        answers = yield from gather(access, commands, again=tier is Tier.DAILY)
        if tier is not Tier.FAST:
            yield from also(access, answers, "events")
        if tier is Tier.DAILY:
            for command in _DAILY:
                yield from also(access, answers, command)
        elif tier is Tier.FAST and not luxos_answers.hashes(answers):
            yield from also(access, answers, "devs")
            if not luxos_answers.reports_curtailment(answers):
                yield from also(access, answers, "events")
        reported = luxos_answers.targets_power(answers)
        if reported is not None:
            access.memory[_TARGETS] = reported
        return luxos_answers.decode(answers, tier)

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Obtain the session; it is kept for the next command and expires by itself on the miner."""
        yield from self._session(access)

    def release_session(self, access: Access) -> Generator[Request, Answer, None]:
        """Release a session obtained in advance, so that the next hub need not wait until it expires."""
        held = access.memory.get("session")
        if isinstance(held, str):
            yield from self._logoff(access, held)

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        match intent:
            case Sleep():
                command, arguments = "curtail", "sleep"
            case Wake():
                command, arguments = "curtail", "wakeup"
            case PowerTarget(power_w):
                return (yield from self._power(access, power_w))
            case SetMode(mode):
                command, arguments = "profileset", mode
            case Reboot():
                command, arguments = "rebootdevice", ""
            case Locate(on):
                command, arguments = "ledset", "red,blink" if on else "red,auto"
            case SetPools(pools):
                return (yield from self._replace_pools(access, pools))
            case InstallFirmware():
                return Unsupported(f"LuxOS (`updaterun`) {image.FETCHES_ITSELF}")
            case RollBackFirmware():
                return Unsupported("LuxOS describes no way back to an earlier release")
            case _:
                return Unsupported(f"LuxOS has no {type(intent).__name__}")
        return (yield from self._write(access, command, arguments))

    def _power(self, access: Access, power_w: float) -> Generator[Request, Answer, Receipt]:
        """Watts where model and release have power targeting, else the profile with the highest power at or below them."""
        if access.memory.get(_TARGETS) is not False:
            receipt = yield from self._write(access, "powertargetset", f"power={round(power_w)}")
            if not isinstance(receipt, Refused) or receipt.code != _NO_COMMAND:
                return receipt
            access.memory[_TARGETS] = False
        answer = yield cgminer.request("profiles", access.ports.get("rpc", cgminer.PORT))
        listed = cgminer.section(cgminer.parse(answer.body), "PROFILES")
        reported = [(plain(profile.get("Watts")), str(profile.get("Profile Name") or "")) for profile in listed]
        fitting = [(watts, name) for watts, name in reported if name and watts and watts <= power_w]
        if not fitting:
            return Refused("profile", f"no power targeting, and no profile at or below {power_w:.0f} W")
        return (yield from self._write(access, "profileset", max(fitting)[1]))

    def _session(self, access: Access) -> Generator[Request, Answer, str | Receipt]:
        held = access.memory.get("session")
        if isinstance(held, str):
            return held
        answer = yield cgminer.request("logon", access.ports.get("rpc", cgminer.PORT))
        document = cgminer.parse(answer.body)
        for entry in cgminer.section(document, "SESSION"):
            if entry.get("SessionID"):
                access.memory["session"] = str(entry["SessionID"])
                return str(entry["SessionID"])
        code, text = cgminer.refusal(document) or ("?", "logon gave no session")
        if _OTHER_SESSION in text.lower():
            return Unreachable(f"no session: {text}")
        return Refused(code, f"no session: {text}")

    def _write(self, access: Access, command: str, arguments: str) -> Generator[Request, Answer, Receipt]:
        for attempt in (1, 2):
            session = yield from self._session(access)
            if not isinstance(session, str):
                return session
            parameter = f"{session},{arguments}" if arguments else session
            receipt = yield from self._once(access, command, parameter)
            lapsed = isinstance(receipt, Refused) and _OTHER_SESSION in receipt.text.lower()
            if lapsed:
                access.memory.pop("session", None)
            if lapsed and attempt == 1:
                continue
            if not lapsed and command != "rebootdevice":
                yield from self._logoff(access, session)
            return receipt
        raise AssertionError("two attempts end above")

    def _once(self, access: Access, command: str, parameter: str) -> Generator[Request, Answer, Receipt]:
        answer = yield cgminer.request(command, access.ports.get("rpc", cgminer.PORT), parameter, writes=True)
        document = cgminer.parse(answer.body)
        refused = cgminer.refusal(document)
        if refused:
            return Refused(*refused)
        status = cgminer.section(document, "STATUS")
        if not status:
            return Refused("?", "an answer without STATUS")
        return Accepted(str(status[0].get("Msg", "")))

    def _logoff(self, access: Access, session: str) -> Generator[Request, Answer, None]:
        """Release the session. Where the miner does not answer it is kept, and the next command uses it again."""
        try:
            yield cgminer.request("logoff", access.ports.get("rpc", cgminer.PORT), session)
        except TransportError:
            return
        access.memory.pop("session", None)

    def _replace_pools(self, access: Access, pools: Any) -> Generator[Request, Answer, Receipt]:
        """New pools are added first and the old ones removed after, so that the miner is never without one.

        These commands are cgminer's own and take no session: one would be read as the address of the pool.
        """
        answer = yield cgminer.request("pools", access.ports.get("rpc", cgminer.PORT))
        old = sorted((whole(entry.get("POOL"), -1) for entry in _pools_of(answer)), reverse=True)
        receipt: Receipt = Refused("pools", "no pool given")
        for pool in pools:
            receipt = yield from self._once(access, "addpool", f"{pool.url},{pool.user},{pool.password}")
            if not isinstance(receipt, Accepted):
                return receipt
        for index in (index for index in old if pools and index >= 0):
            receipt = yield from self._once(access, "removepool", str(index))
            if not isinstance(receipt, Accepted):
                break
        return receipt


def _pools_of(answer: Answer) -> list[cgminer.Document]:
    return cgminer.section(cgminer.parse(answer.body), "POOLS")
