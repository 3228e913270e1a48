# SPDX-License-Identifier: Apache-2.0
"""Offers of a simulated site: what can be moved, bids by the hour with the auction's clock, reserve, tomorrow bought ahead."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hub.app.simulate import simulate
from hub.cli.app import app
from hub.config import load
from hub.config.models import Auction
from hub.journal.recorder import Recorder, at_once
from hub.query.plan_answers import auction_on, deadlines
from hub.state.curve_body import curve_to_json
from hub.state.situation import Freshness, situation_at
from hub.wiring import folded
from kernel.clock import MS_PER_HOUR, Clock, from_iso
from kernel.curve import Curve
from kernel.errors import ConfigError
from telemetry.io.journal_sqlite import open_journal, read_journal

AUCTION = Auction(
    zone="Asia/Almaty", input_until="09:15", prepay_until="08:00", source="test", valid_from=date(2024, 1, 1)
)


def test_the_auctions_clock_is_the_zones_own_and_rolls_over() -> None:
    before = deadlines(AUCTION, from_iso("2026-03-02T03:30:00Z"))
    assert (before["auction"], before["delivery"], before["prepay_missed"]) == ("2026-03-02", "2026-03-03", True)
    assert before["input_until"] == "2026-03-02T04:15:00.000Z"
    after = deadlines(AUCTION, from_iso("2026-03-02T04:15:00Z"))
    assert (after["auction"], after["delivery"], after["prepay_missed"]) == ("2026-03-03", "2026-03-04", False)


def test_one_edition_of_an_auction_holds_on_a_day() -> None:
    old = AUCTION.model_copy(update={"valid_to": date(2026, 1, 1)})
    new = AUCTION.model_copy(update={"valid_from": date(2026, 1, 1), "input_until": "10:00"})
    assert auction_on([old, new], date(2025, 12, 31)) is old and auction_on([old, new], date(2026, 1, 1)) is new
    assert auction_on([new], date(2025, 1, 1)) is None
    with pytest.raises(ConfigError, match="2 editions"):
        auction_on([AUCTION, new], date(2026, 2, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated hours, then a week of real-time prices beside the day-ahead ones, and an auction."""
    made = tmp_path_factory.mktemp("offers")
    simulate(0.125, 3, 24, made)
    (made / "hub.toml").write_text(
        (made / "hub.toml").read_text().replace("horizon = [[1800.0, 86400.0]]", "horizon = [[1800.0, 172800.0]]")
        + '[[planning.auctions]]\nzone = "Asia/Almaty"\ninput_until = "09:15"\nsource = "test"\nvalid_from = 2024-01-01\n'
        "[planning.risk]\nreserve_price_per_mwh = 100.0\nreserve_max_w = 10000.0\n"
    )
    config = load(made / "hub.toml", environment={})
    with open_journal(made / "data") as journal:
        state = folded(config, journal)
        now_ms = max(reading.at_ms for reading in journal.last("meter"))
        first = from_iso("2026-02-22T00:00:00+05:00")
        starts = first + MS_PER_HOUR * np.arange(7 * 24, dtype=np.int64)
        price = 12_000 + 3_000 * np.sin(np.arange(len(starts)) / 24 * 2 * np.pi)
        noise = np.random.default_rng(1).normal(0, 900, len(starts))
        recorder = Recorder(journal, Clock(lambda: now_ms, lambda: 0.0), state.apply, at_once())
        for name, values in (("price/day_ahead", price), ("price/real_time", price + noise)):
            known_ms = int(starts[0 if name.endswith("ahead") else -1])
            curve = Curve(name, "KZT/MWh", starts, starts + MS_PER_HOUR, values, known_ms, "test")
            recorder.emit("alatau", "price.curve", curve_to_json(curve))
        import asyncio

        asyncio.run(recorder.flush(required=True))
    return made


def asked(folder: Path, *more: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["plan", "offers", str(folder), *more, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_all_offers_of_a_site_in_one_answer(folder: Path) -> None:
    answer = asked(folder, "--reserve-mw", "0.01")
    for line in answer["availability"]:
        assert 0 <= line["down_modes_w"] <= line["down_w"] <= line["planned_w"] + 1e-6 and line["up_w"] >= 0
    assert len(answer["bids"]) == 24 and answer["bids"][0]["start"].startswith(f"{answer['auction']['auction']}T19:00")
    for bid in answer["bids"]:
        prices = [step["price_per_mwh"] for step in bid["steps"]]
        energy = [step["energy_mwh"] for step in bid["steps"]]
        assert prices == sorted(prices, reverse=True) and energy == sorted(energy)
    assert {offer["power_w"] for offer in answer["reserve"]} == {10_000.0}
    reported = answer["tomorrow"]
    assert reported["days_of_error"] >= 5 and reported["worth"] >= reported["worth_unhedged"] - 1e-6
    assert reported["reserve_w"] == pytest.approx([10_000.0] * 6)
    assert reported["imbalance_worst"] >= reported["imbalance_mean"]
    assert asked(folder, "--reserve-mw", "0.01") == answer, "the same facts give the same offers"


def test_explained_names_every_group_and_prices_every_change(folder: Path) -> None:
    done = CliRunner().invoke(app, ["plan", "explain", str(folder), "--json"], catch_exceptions=False)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["groups"] and all(row["why"] for row in answer["groups"])
    texts = [str(change) for change in answer["what_if"]]
    assert any("J/TH" in text for text in texts), "a newer model is among them"
    assert len(texts) >= 4


def test_the_days_budget_of_starts_binds_the_control_step_too(folder: Path) -> None:
    text = (folder / "hub.toml").read_text()
    bound = folder / "bound.toml"
    bound.write_text(text.replace("start_cost = 40.0", "start_cost = 40.0\nstarts_per_day = 0"))
    may = []
    for path in (folder / "hub.toml", bound):
        config = load(path, environment={})
        with read_journal(folder / "data") as journal:
            state = folded(config, journal)
            now_ms = max(reading.at_ms for reading in journal.last("meter"))
        may.append(int(situation_at(state, state.sites["alatau/north"], now_ms, Freshness(600.0)).fleet.may_wake.sum()))
    assert may[0] > 0 and may[1] == 0
