# SPDX-License-Identifier: Apache-2.0
"""A year of the example hub, exported: hledger, ledger-cli and Beancount must find the balances that we have."""

import csv
import io
import re
import subprocess
import sys
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kernel.clock import from_iso, to_datetime
from kernel.ids import business_id, sha256_hex
from kernel.money import Unit
from kernel.span import Span
from tests.servers import count, need
from treasury import exchange, payout, settlement
from treasury.account import Balance
from treasury.checks import check
from treasury.contract import load_contract
from treasury.export import export
from treasury.io.ledger_sqlite import SqliteLedger, open_ledger
from treasury.ledger import Posted, Rejected
from treasury.transfer import Transfer, transfer_id

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = load_contract(ROOT / "configs" / "contracts" / "example-hub.toml")
YEAR_MS = from_iso("2026-01-01T12:00:00Z")
DAY_MS = 86_400_000
PROOF = sha256_hex(b"proof")


def book_a_year(ledger: SqliteLedger, days: int) -> None:
    rng = np.random.default_rng(5)
    venue = CONTRACT.venues[0].name
    ledger.open_accounts([*payout.accounts(CONTRACT), *exchange.accounts(venue), *settlement.accounts()], YEAR_MS)
    for number in range(days):
        at_ms = YEAR_MS + number * DAY_MS
        amount = int(rng.integers(1_000_000, 50_000_000))
        paid = payout.PoolPayout("braiins", "hub", f"tx{number}", at_ms, amount, number % 3, "bc1q", PROOF)
        span = Span(at_ms - DAY_MS, at_ms)
        rate = settlement.RecordedRate(
            "USD", f"5{number % 90:02d}.{number % 100:02d}", 1, date(2026, 1, 1), date(2026, 1, 1), "t", b"x"
        )
        bases = {
            "energy_wh": Fraction(int(rng.integers(10**6, 10**9))),
            "sat_per_tiyn": settlement.sat_per_tiyn(Fraction(95_000), rate),
        }
        portions = (
            [payout.Portion(edition, part, bases, {}) for edition, part in CONTRACT.portions(span)] if number else []
        )
        reward = payout.PoolReward("braiins", "hub", to_datetime(at_ms).date(), amount + number % 3, PROOF)
        batch = [payout.accrual(reward), *payout.receipt(CONTRACT, paid)]
        if portions:
            batch += payout.division(CONTRACT, paid, portions).transfers(CONTRACT, PROOF)
            cents = exchange.amount_to_sell(amount, Fraction(3, 4)) * 95_000 // 10**6
            order = exchange.order_id(at_ms, paid.key)
            trade = exchange.Trade(venue, f"T{number}", order, exchange.amount_to_sell(amount, Fraction(3, 4)), "95000.00", cents,
                                   cents // 700 + 1, at_ms, b"raw")  # fmt: skip
            batch += exchange.sale(trade, CONTRACT.wallet, PROOF)
            batch += settlement.settlement(
                trade, rate, PROOF, settlement.tiyn_for(trade.net_cent, rate) + number % 5 - 2
            )
        outcome = ledger.post(batch, at_ms)
        assert isinstance(outcome, Posted), outcome


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory):
    ledger = open_ledger(tmp_path_factory.mktemp("year") / "ledger.sqlite")
    book_a_year(ledger, count(366, 366))
    assert check(ledger) == []
    yield ledger
    ledger.close()


def nets(ledger: SqliteLedger) -> dict[tuple[str, str], int]:
    units = {code: account.unit.value for code, account in ledger.accounts().items()}
    return {(code, units[code]): balance.net for code, balance in ledger.balances().items() if balance.net}


def written(ledger: SqliteLedger, form: str, folder: Path) -> Path:
    path = folder / f"year.{form}"
    path.write_text("\n".join(export(ledger, form)) + "\n")
    return path


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_hledger_agrees(year: SqliteLedger, tmp_path: Path):
    program, path = need("hledger"), str(written(year, "hledger", tmp_path))
    checked = run(program, "-f", path, "check", "--strict")
    assert checked.returncode == 0, checked.stderr
    reported = run(program, "-f", path, "balance", "--flat", "--no-total", "-O", "csv")
    assert reported.returncode == 0, reported.stderr
    found = {}
    for account, amount in list(csv.reader(io.StringIO(reported.stdout)))[1:]:
        number, unit = amount.split(" ")
        found[(account, unit)] = int(number.rstrip("."))
    assert found == nets(year)


def test_ledger_cli_agrees(year: SqliteLedger, tmp_path: Path):
    program, path = need("ledger"), str(written(year, "ledger", tmp_path))
    form = "%(account)\t%(quantity(scrub(display_total)))\t%(commodity(scrub(display_total)))\n"
    reported = run(program, "-f", path, "--strict", "--pedantic", "balance", "--flat", "--no-total", "--format", form)
    assert reported.returncode == 0, reported.stderr
    rows = [line.split("\t") for line in reported.stdout.splitlines() if line.strip()]
    assert {(account, unit): int(number) for account, number, unit in rows} == nets(year)


def test_beancount_agrees(year: SqliteLedger, tmp_path: Path):
    path = str(written(year, "beancount", tmp_path))
    checked = run(sys.executable, "-m", "beancount.scripts.check", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    from beancount import loader
    from beancount.core import realization

    entries, errors, _ = loader.load_file(path)
    assert not errors
    found = {}
    for account in realization.iter_children(realization.realize(entries)):
        for position in account.balance:
            found[(account.account, position.units.currency)] = int(position.units.number)
    assert found == nets(year)


def test_the_peers_would_notice_a_lost_satoshi_and_so_do_we(year: SqliteLedger, tmp_path: Path):
    path = written(year, "hledger", tmp_path)
    text = path.read_text()
    amount = re.search(r"-(\d+) SAT", text)
    assert amount is not None
    path.write_text(text.replace(amount[0], f"-{int(amount[1]) - 1} SAT", 1))
    assert run(need("hledger"), "-f", str(path), "check").returncode != 0
    lossy = Transfer(business_id(YEAR_MS, "lossy"), CONTRACT.wallet, CONTRACT.undivided, 1.0, Unit.SAT, "x", YEAR_MS)  # type: ignore[arg-type]
    refused = year.post([lossy], YEAR_MS)
    assert isinstance(refused, Rejected)
    assert "whole number" in refused.faults[0].problem


def test_a_text_from_outside_cannot_write_a_line_of_its_own(tmp_path: Path):
    ledger = open_ledger(tmp_path / "l.sqlite")
    ledger.open_accounts(payout.accounts(CONTRACT), YEAR_MS)
    made = Transfer(transfer_id(YEAR_MS, "q"), CONTRACT.wallet, CONTRACT.undivided, 1, Unit.SAT, 'say "x" \\ ; |', YEAR_MS,
                    note='"} ; account Evil')  # fmt: skip
    assert isinstance(ledger.post([made], YEAR_MS), Posted)
    broken = Transfer(transfer_id(YEAR_MS, "r"), CONTRACT.wallet, CONTRACT.undivided, 1, Unit.SAT, "a\nb", YEAR_MS)
    assert isinstance(ledger.post([broken], YEAR_MS), Rejected)
    assert ledger.balances()[CONTRACT.wallet] == Balance(1, 0)
    for form, argv in (
        ("hledger", [need("hledger"), "check", "--strict", "-f"]),
        ("ledger", [need("ledger"), "--strict", "--pedantic", "balance", "-f"]),
        ("beancount", [sys.executable, "-m", "beancount.scripts.check"]),
    ):
        done = run(*argv, str(written(ledger, form, tmp_path)))
        assert done.returncode == 0, f"{form}: {done.stdout}{done.stderr}"
    ledger.close()
