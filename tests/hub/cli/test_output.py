# SPDX-License-Identifier: Apache-2.0
"""Tables that people read in terminals of any width, and how a refusal of the hub reads."""

from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from hub.cli.act import ask_hub
from hub.cli.app import app
from hub.cli.output import put_table
from kernel.errors import ConfigError

ROWS = [
    (f"alatau/north/miner-{at:05d}", "fault", "in fault while drawing 3381 W", 200.0, "Read its log, reboot it once")
    for at in range(3)
]
HEAD = ("device", "what", "words", "TH/s lost", "remedy")


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_table_fits_its_terminal_and_no_text_is_lost(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    put_table("Sick miners, costliest first, and what to do", HEAD, ROWS)
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "Sick miners, costliest first, and what to do"
    assert max(map(len, lines)) <= width
    letters = "".join("".join(lines).split())
    for word in ("Read", "its", "log,", "reboot", "3381"):
        assert letters.count(word) == 3
    if width >= 80:
        assert sum("alatau/north/miner-00001 " in line for line in lines) == 1, "a name stays whole"


@pytest.mark.parametrize(
    ("status", "body", "place", "problem"),
    [
        (404, {"detail": "no site 'x'"}, "/sites/x/orders", "no site 'x'"),
        (403, {}, "--key", "may not do this"),
        (422, {"faults": [{"place": "until", "problem": "is past", "remedy": "Say later"}]}, "until", "is past"),
        (422, {"detail": "odd"}, "http://h", "answered 422 to /sites/x/orders"),
        (500, None, "http://h", "answered 500 to /sites/x/orders"),
    ],
)  # fmt: skip
def test_a_refusal_is_reported_with_its_place(
    status: int, body: object, place: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*args: object, **named: object) -> httpx.Response:
        return httpx.Response(status, text="<html>") if body is None else httpx.Response(status, json=body)

    monkeypatch.setattr(httpx, "request", answer)
    with pytest.raises(ConfigError) as found:
        ask_hub("GET", "http://h", "k", "/sites/x/orders")
    (fault,) = found.value.faults
    assert (fault.place, fault.problem) == (place, problem) and fault.remedy


def test_an_address_that_is_none_is_reported_too() -> None:
    with pytest.raises(ConfigError, match="does not answer"):
        ask_hub("GET", "http://[::1", "k", "/sites")


def test_orders_and_states_read_as_people_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = {"id": "o1", "phase": "acting", "start_ms": 1_795_835_884_693, "end_ms": None, "power_w": 1e5}
    monkeypatch.setattr(httpx, "request", lambda *args, **named: httpx.Response(200, json=order))
    reported = CliRunner().invoke(
        app, ["dispatch", "send", "north", "--power-w", "100000", "--until", "2026-11-28T03:25:00Z"]
    )
    assert reported.exit_code == 0 and "2026-11-28T03:18:04.693Z" in reported.output and "1,795" not in reported.output
    wrong = CliRunner().invoke(app, ["miners", "list", str(tmp_path), "--state", "bogus"])
    assert isinstance(wrong.exception, ConfigError) and "hashing" in str(wrong.exception)
