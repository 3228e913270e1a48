# SPDX-License-Identifier: Apache-2.0
"""Stock Antminer: reads over the cgminer port (4028) or the CGI, writes over the CGI with HTTP digest.

- Reads: the joined command `summary+stats+pools` is tried first; a firmware that does not know it gets the commands singly
  from then on. A firmware that answers `stats` with `new_api` in the shape of the CGI (watts, work mode) is read that way.
  One with the RPC port closed is read over the CGI.
- Zero rate: `get_miner_conf.cgi` is read; only a work mode of 1 there (or in `stats`) is sleep.
- Writes: every write reads the configuration first and passes the pools back, since `set_miner_conf.cgi` replaces all of
  it; both keys of the mode are sent, because firmwares differ in which they obey.
"""

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Field, Missing
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unsupported
from miner_control.dialect import antminer_form, antminer_stats, cgminer, image
from miner_control.dialect.figures import spelt
from miner_control.dialect.gather import gather, joined
from miner_control.fleet.command import (
    InstallFirmware,
    Intent,
    Locate,
    Reboot,
    RollBackFirmware,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Access, Answer, Http, Parts, Request, Rpc, Talk
from miner_control.fleet.miner import State
from telemetry.collect.source import Tier

_JOINED = ("summary", "stats", "pools")
_JOINED_PAYLOAD = b'{"command":"summary+stats+pools"}'
_MODES = {"normal": 0, "sleep": 1, "hem": 2, "low": 3}
_SLEEP = 1
_CONF_LIFE_MS = 60_000
# Content type of the JSON sent by the maker's own page; some releases require it.
_AS_THE_PAGE = {"Content-Type": "text/plain;charset=UTF-8"}


class Antminer:
    """The stock firmware of Antminers with the CGI of 2020 and later (S17+ to S23)."""

    name = "antminer"

    def supports(self) -> frozenset[str]:
        return frozenset({"Sleep", "Wake", "SetMode", "Reboot", "Locate", "SetPools", "InstallFirmware"})

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by command: summary, stats, pools, devs, version, get_miner_conf, get_system_info."""
        return antminer_stats.decode(cgminer.documents(answers), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        answers: dict[str, Any] = {}
        learnt = _learnt(access) if tier is Tier.FAST else None
        if learnt is not None:
            # The fast poll of thousands: one request only.
            try:
                found = cgminer.parse((yield learnt).body)
                answers = joined(found, _JOINED) if learnt.payload == _JOINED_PAYLOAD else {"stats": found}
            except (TransportError, DecodeError) as error:
                if not isinstance(error, DecodeError) and not _may_turn(access, error):
                    raise
        if not antminer_stats.readable(answers):
            answers = {}
            yield from self._gather(access, answers, tier)
        if tier is Tier.DAILY:
            yield from _optional(access, answers, "version", rpc=True)
            yield from _optional(access, answers, "get_system_info")
            yield from _optional(access, answers, "get_miner_conf")
        values = antminer_stats.decode(answers, tier)
        if "get_miner_conf" not in answers and antminer_stats.wants_mode(answers, values):
            yield from _optional(access, answers, "get_miner_conf")
            values = antminer_stats.decode(answers, tier)
        if tier is not Tier.FAST:
            if values["state"] == State.FAULT and isinstance(values["error_text"], Missing):
                # Only the CGI reports the miner's own checks.
                page: dict[str, Any] = {}
                yield from _optional(access, page, "summary")
                if antminer_stats.with_checks(answers, page):
                    values = antminer_stats.decode(answers, tier)
            # The number of the low mode depends on it.
            access.memory["model"] = antminer_stats.model_of(answers)
        if access.memory.get("locked"):
            antminer_stats.put_locked(values, answers)
        return values

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Obtain the digest nonce and keep the configuration for a minute, so that a shed costs one exchange."""
        answer = yield _cgi(access, "GET", "get_miner_conf")
        if answer.status == 200:
            access.memory["conf"] = (now_ms, cgminer.parse(answer.body, whole=True))

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        match intent:
            case Sleep():
                return (yield from self._write_conf(access, now_ms, mode=_SLEEP))
            case Wake():
                return (yield from self._write_conf(access, now_ms, mode=int(access.memory.get("mode_awake", 0))))
            case SetMode(mode):
                number = self._mode_number(access, mode)
                if number is None:
                    return Unsupported(f"no mode {mode!r}: {', '.join(_MODES)} or the firmware's own number")
                return (yield from self._write_conf(access, now_ms, mode=number))
            case SetPools(pools):
                entries = [{"url": pool.url, "user": pool.user, "pass": pool.password} for pool in pools]
                return (yield from self._write_conf(access, now_ms, pools=entries))
            case Reboot():
                return _receipt((yield _cgi(access, "GET", "reboot", writes=True)), pages=True)
            case Locate(on):
                return (yield from self._blink(access, on))
            case InstallFirmware():
                return (yield from self._install(access, intent))
            case RollBackFirmware():
                return Unsupported(f"stock Antminer firmware {image.KEEPS_NONE}")
        return Unsupported(f"stock Antminer firmware has no {type(intent).__name__}")

    def _blink(self, access: Access, on: bool) -> Generator[Request, Answer, Receipt]:
        answer = yield _cgi(access, "POST", "blink", orjson.dumps({"blink": on}), writes=True)
        receipt = _receipt(answer)
        if isinstance(receipt, Accepted) and not answer.body.lstrip().startswith(b"{"):
            # Firmwares of before 2020 take a form, and answer nothing to anything else.
            body = b"action=startBlink" if on else b"action=stopBlink"
            receipt = _receipt((yield _cgi(access, "POST", "blink", body, writes=True, headers=antminer_form.HEADERS)))
        return receipt

    def _install(self, access: Access, intent: InstallFirmware) -> Generator[Request, Answer, Receipt]:
        """`upgrade.cgi` takes a form with the image and keeps the settings. The password is proven on a small page first,
        so that a large body is never answered by 401."""
        refused = image.mismatch(intent)
        if refused is not None:
            return refused
        first = yield _cgi(access, "GET", "get_system_info")
        if first.status != 200:
            return _receipt(first)
        headers, body = image.multipart((), "firmware", image.file_name(intent.data), intent)
        answer = yield _cgi(access, "POST", "upgrade", body, writes=True, headers=headers)
        if answer.status == 200 and b"fail" in answer.body.lower() and not answer.body.lstrip().startswith(b"{"):
            # Older firmwares answer with a whole page that contains the failure.
            return Refused("page", "the upgrade page reports a failure")
        return _receipt(answer, pages=True)

    def _mode_number(self, access: Access, mode: str) -> int | None:
        if mode.isdigit():
            return int(mode)
        if mode == "low" and "S19K" in str(access.memory.get("model", "")).upper().replace(" ", ""):
            return _MODES["hem"]
        return _MODES.get(mode)

    def _write_conf(
        self, access: Access, now_ms: int, mode: int | None = None, pools: Sequence[Mapping[str, str]] | None = None
    ) -> Generator[Request, Answer, Receipt]:
        """Read the configuration (or use the one just prepared), change one item, write all of it."""
        read_ms, conf = access.memory.pop("conf", (None, {}))
        if read_ms is None or not 0 <= now_ms - read_ms <= _CONF_LIFE_MS or pools is not None:
            answer = yield _cgi(access, "GET", "get_miner_conf")
            if answer.status != 200:
                return _receipt(answer)
            conf = cgminer.parse(answer.body, whole=True)
        if not any(key.startswith("bitmain-") for key in conf):
            keys = ", ".join(sorted(conf)[:6])
            return Refused("conf", f"the configuration read is not that of an Antminer ({keys}): nothing is written")
        present = antminer_stats.mode_of(conf)
        reported = [pool for pool in conf.get("pools") or () if isinstance(pool, dict) and pool.get("url")]
        if not reported and pools is None:
            return Refused("conf", "the configuration read holds no pools; writing it would wipe them")
        old = antminer_form.is_old(conf)
        if old and mode is not None and present is None:
            return Unsupported("firmware of before 2020 without a work mode: it cannot sleep, only be switched off")
        if old and mode == _SLEEP:
            mode = antminer_form.SLEEP
        if mode is not None and mode == present:
            return Accepted(f"already in mode {mode}")
        if present is not None and present not in antminer_stats.SLEEPS:
            access.memory["mode_awake"] = present
        mode = present if mode is None else mode
        if old:
            sent = antminer_form.form(conf, mode, pools or conf["pools"])
            headers = antminer_form.HEADERS
            return _receipt((yield _cgi(access, "POST", "set_miner_conf", sent, writes=True, headers=headers)))
        mode = _MODES["normal"] if mode is None else mode
        # What the firmware calls its other settings does not matter: they go back as they were read.
        body: dict[str, Any] = {key: value for key, value in conf.items() if value is not None}
        level = conf.get("freq-level", conf.get("bitmain-freq-level"))
        if level is not None:
            body["freq-level"] = level
        body |= {"miner-mode": mode, "bitmain-work-mode": str(mode), "pools": list(pools or conf["pools"])}
        sent = orjson.dumps(body)
        return _receipt((yield _cgi(access, "POST", "set_miner_conf", sent, writes=True, headers=_AS_THE_PAGE)))

    def _gather(self, access: Access, answers: dict[str, Any], tier: Tier) -> Talk:
        memory = access.memory
        if tier is Tier.DAILY:
            memory.pop("way", None)
        by_rpc: dict[str, Any] = {}
        try:
            if memory.get("way") != "cgi":
                yield from self._over_rpc(access, by_rpc, tier)
                if antminer_stats.readable(by_rpc) or "http" not in access.ports:
                    answers.update(by_rpc)
                    return
        except TransportError as error:
            if not _may_turn(access, error):
                raise
        except DecodeError:
            if "http" not in access.ports:
                raise
        lost: TransportError | None = None
        for command in _JOINED:
            try:
                yield from _optional(access, answers, command, quiet=False)
            except TransportError as error:
                lost = error
                break
        if not answers:
            yield from _optional(access, answers, "get_miner_conf")
        if answers and by_rpc:
            # Its RPC answers without values (restricted to other addresses): not tried again before tomorrow.
            memory["way"] = "cgi"
        answers.update({name: document for name, document in by_rpc.items() if name not in answers})
        if not answers and memory.get("locked"):
            raise TransportError(Absence.REFUSED, "account or password not accepted")
        if not answers:
            raise lost or DecodeError("stats.cgi", "neither RPC nor CGI gave an answer that can be read")

    def _over_rpc(self, access: Access, answers: dict[str, Any], tier: Tier) -> Talk:
        """Read in the way found before: `stats` of the new API, or the joined three, or singly (fast: `stats` alone)."""
        memory, port = access.memory, access.ports.get("rpc", cgminer.PORT)
        if memory.get("new_api"):
            answers["stats"] = cgminer.parse((yield _new_stats(port)).body)
            if tier is Tier.FAST:
                return
        single_fast = tier is Tier.FAST and memory.get("joined") is False
        found = yield from gather(access, ("stats",) if single_fast else _JOINED, again=tier is Tier.DAILY)
        answers.update(found | answers)
        if "new_api" not in memory or (tier is Tier.DAILY and not memory["new_api"]):
            # Newer models report watts and work mode only in this form; older ones ignore the key and answer as before.
            try:
                found = cgminer.parse((yield _new_stats(port)).body)
            except DecodeError:
                found = {}
            memory["new_api"] = antminer_stats.is_new(found)
            if memory["new_api"]:
                answers["stats"] = found


def _learnt(access: Access) -> Rpc | None:
    """The request that is known to return all of the fast tier from this firmware, or None before it is known."""
    memory, port = access.memory, access.ports.get("rpc", cgminer.PORT)
    if "new_api" not in memory or "joined" not in memory or memory.get("way") == "cgi":
        return None
    if memory["new_api"]:
        return _new_stats(port)
    return cgminer.request("+".join(_JOINED) if memory["joined"] else "stats", port)


def _may_turn(access: Access, error: TransportError) -> bool:
    """Whether to continue over the CGI. A refused connection means that the RPC is closed or its daemon is down; a time-out
    means that the miner is busy, and nothing more is sent."""
    return error.reason is Absence.UNREACHABLE and "http" in access.ports


@lru_cache(maxsize=64)
def _new_stats(port: int) -> Rpc:
    return Rpc(b'{"command":"stats","new_api":true}', port)


def _cgi(
    access: Access,
    method: str,
    name: str,
    body: bytes | Parts = b"",
    *,
    writes: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Http:
    path, port = f"/cgi-bin/{name}.cgi", access.ports.get("http", 80)
    return Http(method, path, port, headers or {}, body, digest=True, writes=writes)


def _optional(
    access: Access, answers: dict[str, Any], name: str, *, rpc: bool = False, quiet: bool = True
) -> Generator[Request, Answer, None]:
    """One more command; where it fails it is left out, and its metrics are Missing."""
    if not rpc and "http" not in access.ports:
        return
    try:
        if rpc:
            answer = yield cgminer.request(name, access.ports.get("rpc", cgminer.PORT))
        else:
            answer = yield _cgi(access, "GET", name)
        if not rpc:
            access.memory["locked"] = answer.status in (401, 403)
        if answer.status in (0, 200):
            answers[name] = cgminer.parse(answer.body)
    except TransportError:
        if not quiet:
            raise
    except DecodeError:
        pass


def _receipt(answer: Answer, pages: bool = False) -> Receipt:
    """Receipt of a CGI write. Only status 200 without a reported failure is acceptance, and a web page (such as a login page)
    only where a good answer is one (`pages`)."""
    if answer.status in (401, 403):
        return Refused(str(answer.status), "account or password not accepted")
    if answer.status != 200:
        return Refused(str(answer.status), answer.body[:200].decode("utf-8", "replace").strip())
    try:
        document = cgminer.parse(answer.body)
    except DecodeError:
        # Reboot and some blink pages answer with an empty or plain page.
        text = answer.body[:80].decode("utf-8", "replace").strip()
        if text.startswith(("{", "[")) or "\ufffd" in text:
            return Unknown(f"no answer that can be read: {text}")
        bad = ("error" in text.lower() or "fail" in text.lower()) or (not pages and text.startswith("<"))
        return Refused("page", text) if bad else Accepted(text)
    refused = cgminer.refusal(document)
    if refused:
        return Refused(*refused)
    stats, code, text = (spelt(document.get(name)) for name in ("stats", "code", "msg"))
    if stats.lower() == "success" or code == "0" or code.endswith("000") or document.get("STATUS"):
        return Accepted(text)
    return Refused(code or stats, text) if code or stats else Unknown(f"no success reported: {answer.body[:80]!r}")
