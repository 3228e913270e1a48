# SPDX-License-Identifier: Apache-2.0
"""A checkpoint gives the state that the whole journal gives, or none: after stops, other configurations, damage, tampering."""

import asyncio
import os
import pickle
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from hub.app.live import start
from hub.config import Config, load
from hub.control.tick import TickSettings, decide
from hub.state import checkpoint
from hub.state.fold import HubState
from hub.state.situation import Freshness, situation_at
from hub.wiring import catalogue, empty_state, folded, reading
from kernel.clock import iso, system_clock
from tests.hub_site import World, until, world


def reported(state: HubState, config: Config, now_ms: int) -> dict[str, Any]:
    """All that a state holds, as plain values."""
    sites = {}
    for key, site in state.sites.items():
        asked = {name: list(column) for name, column in vars_of(site.standing.commanded(now_ms)).items()}
        sites[key] = {
            "asked": asked,
            "tick": site.tick,
            "plan": site.plan,
            "outcomes": site.outcomes,
            "issued": site.issued,
            "unanswered": sorted(site.unanswered),
            "receipts": list(site.receipts),
            "log": [event.key for event in site.log],
            "tickets": [asdict(ticket) for ticket in site.tickets.tickets()],
            "campaigns": [one.status() for one in site.jobs.jobs.values()],
            "peak_w": site.peak.highest_w(now_ms),
            "overhead": site.overhead_factor,
            "decided": decide(
                state, site, situation_at(state, site, now_ms, Freshness.of(config)), TickSettings.of(config)
            ).body,
        }
    kinds = {
        kind: {device: state.snapshot.kind(kind).reading(device) for device in state.snapshot.kind(kind).devices}
        for kind in state.snapshot.kinds()
        if state.snapshot.kind(kind).devices
    }
    traces = {meter: [list(part) for part in trace.between(0, 2**62)] for meter, trace in state.traces.items()}
    orders = [entry.to_json() for entry in state.book.entries()]
    return {"position": state.position, "sites": sites, "kinds": kinds, "traces": traces, "orders": orders}


def vars_of(columns: Any) -> dict[str, Any]:
    return {name: getattr(columns, name) for name in columns.__dataclass_fields__}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A hub that lived for a while, with an order, and stopped in order."""
    folder = tmp_path_factory.mktemp("lived")

    async def main(site: World) -> None:
        async with start(load(site.config, environment={}), folder) as hub:
            await until("miners hash", lambda: hub.ports.sites.status("north")["counts"]["hashing"] >= 15, 60)
            body = {"power_w": 30_000.0, "until": iso(system_clock().now_ms() + 600_000), "reference": "test"}
            await asyncio.to_thread(site.api, "POST", "/sites/north/orders", body)
            await until("it is obeyed", lambda: hub.ports.sites.status("north")["counts"]["asleep"] >= 3, 60)

    with world(folder, miners=16, miner_host="127.78.90.1") as site:
        asyncio.run(main(site))
        yield site


def whole(site: World, config: Config) -> HubState:
    """The state of the journal alone."""
    path = site.folder / "data" / checkpoint.FILE_NAME
    aside = path.rename(path.with_name("aside"))
    try:
        return folded(config, reading(site.folder / "data"))
    finally:
        aside.rename(path)


def test_after_a_stop_nothing_is_folded_anew_and_nothing_differs(lived: World, monkeypatch: Any) -> None:
    config, path = load(lived.config, environment={}), lived.folder / "data" / checkpoint.FILE_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    journal = reading(lived.folder / "data")
    expected, now_ms = whole(lived, config), system_clock().now_ms()
    applied = []
    fold = HubState.apply
    monkeypatch.setattr(HubState, "apply", lambda self, record: (applied.append(record), fold(self, record))[1])
    found = folded(config, journal)
    assert applied == [] and found.position == journal.position() > 50
    assert reported(found, config, now_ms) == reported(expected, config, now_ms)
    site = found.sites["alatau/north"]
    assert found.miners[site.roster.devices[0]] is site.register.miners[0], "what was one thing is one thing"
    assert site.log.maxlen == expected.sites["alatau/north"].log.maxlen


def test_what_came_after_is_folded_on_top(lived: World) -> None:
    config, data = load(lived.config, environment={}), lived.folder / "data"
    path, kept = data / checkpoint.FILE_NAME, (data / checkpoint.FILE_NAME).read_bytes()
    journal, now_ms = reading(data), system_clock().now_ms()
    expected = whole(lived, config)
    early = empty_state(config, catalogue())
    for record in journal.records(until=journal.position() // 2):
        early.apply(record)
    half = checkpoint.taken(early)
    assert half is not None
    checkpoint.write(half, config, path)
    try:
        assert reported(folded(config, journal), config, now_ms) == reported(expected, config, now_ms)
    finally:
        path.write_bytes(kept)


def test_another_configuration_folds_events_alone_again(lived: World, monkeypatch: Any) -> None:
    config, now_ms = load(lived.config, environment={}), system_clock().now_ms()
    sites = tuple(site.model_copy(update={"import_cap_w": site.import_cap_w - 1.0}) for site in config.sites)
    other = config.model_copy(update={"sites": sites})
    expected = whole(lived, other)
    decoded = []
    unpack = checkpoint.Record
    monkeypatch.setattr(checkpoint, "Record", lambda at, content: (decoded.append(at), unpack(at, content))[1])
    found = folded(other, reading(lived.folder / "data"))
    assert decoded and len(decoded) < found.position, "its readings come from the checkpoint"
    assert found.sites["alatau/north"].config.import_cap_w == sites[0].import_cap_w
    assert reported(found, other, now_ms) == reported(expected, other, now_ms)


class Bad:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-checkpoint",)


def calling(module: str, name: str) -> bytes:
    """A pickle that calls what a module has under a name, with one list of one text."""

    def text(found: str) -> bytes:
        return b"\x8c" + bytes([len(found)]) + found.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93](" + text("touch made-by-a-checkpoint") + b"e\x85R."


@pytest.mark.parametrize(
    "what",
    ["cut", "flipped", "empty", "other journal", "ahead", "other code", "runs code", "builtin", "dotted", "imported"],
)
def test_what_does_not_fit_is_left_unread_and_reported(
    lived: World, what: str, monkeypatch: Any, tmp_path: Path
) -> None:
    config, data = load(lived.config, environment={}), lived.folder / "data"
    path, kept = data / checkpoint.FILE_NAME, (data / checkpoint.FILE_NAME).read_bytes()
    expected, now_ms = whole(lived, config), system_clock().now_ms()
    taken = checkpoint.taken(whole(lived, config))
    assert taken is not None
    monkeypatch.chdir(tmp_path)
    match what:
        case "cut":
            path.write_bytes(kept[: len(kept) // 2])
        case "flipped":
            path.write_bytes(kept[:-9] + bytes([kept[-9] ^ 1]) + kept[-8:])
        case "empty":
            path.write_bytes(b"")
        case "other journal":
            checkpoint.write(replace(taken, event=(*taken.event[:4], taken.event[4] + 1)), config, path)
        case "ahead":
            checkpoint.write(replace(taken, position=taken.position + 1), config, path)
        case "other code":
            checkpoint.write(taken, config, path)
            monkeypatch.setattr(checkpoint, "_code_print", lambda components: "newer")
        case "runs code":
            checkpoint.write(replace(taken, rest=pickle.dumps(Bad())), config, path)
        case "dotted":
            checkpoint.write(replace(taken, rest=calling("hub.app.demo", "subprocess.Popen")), config, path)
        case "imported":
            checkpoint.write(replace(taken, rest=calling("telemetry.io.seal", "Path")), config, path)
        case "builtin":
            checkpoint.write(replace(taken, rest=pickle.dumps(getattr)), config, path)
    try:
        with structlog.testing.capture_logs() as logs:
            found = folded(config, reading(data))
        assert [one["event"] for one in logs if one["log_level"] == "warning"] == ["checkpoint left unread"]
        assert reported(found, config, now_ms) == reported(expected, config, now_ms)
        assert not (tmp_path / "made-by-a-checkpoint").exists()
    finally:
        path.write_bytes(kept)
