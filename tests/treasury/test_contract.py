# SPDX-License-Identifier: Apache-2.0
"""Contracts and rules as data: what a good file gives, and how a bad one is told, all faults at once."""

from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from kernel.clock import from_iso
from kernel.errors import ConfigError
from kernel.money import Unit
from kernel.span import Span
from treasury import exchange, payout, settlement
from treasury.account import Keeps
from treasury.contract import Contract, Line, divide, load_contract, parse_contract
from treasury.rules import load_rules
from treasury.transfer import Transfer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "configs" / "contracts" / "example-hub.toml"
TEXT = EXAMPLE.read_text()


def edited(*changes: tuple[str, str]) -> Contract:
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return parse_contract(text.encode(), "contract.toml")


def faults(*changes: tuple[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        edited(*changes)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "contracts").glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_contract_loads_and_divides_exactly(path: Path):
    contract = load_contract(path)
    for edition in contract.editions:
        bases = {"energy_wh": Fraction(117_000), "sat_per_tiyn": Fraction(1, 50)}
        for received in (1, 2, 5_821, 312_500_001):
            assert sum(line.amount for line in divide(edition.steps, received, bases)) == received


def test_the_example_divides_as_its_file_states():
    lines = divide(
        load_contract(EXAMPLE).editions[0].steps,
        10_000,
        {"energy_wh": Fraction(100_000), "sat_per_tiyn": Fraction(1, 50)},
    )
    assert [(line.step, line.amount) for line in lines] == [
        ("city", 500), ("power", 3_000), ("hosting", 975), ("rest", 3_868), ("rest", 1_657),
    ]  # fmt: skip


def test_a_shortfall_is_a_receivable_and_the_supplier_is_owed_in_full():
    lines = divide(
        load_contract(EXAMPLE).editions[0].steps,
        1_000,
        {"energy_wh": Fraction(100_000), "sat_per_tiyn": Fraction(1, 50)},
    )
    power = next(line for line in lines if line.step == "power")
    assert power == Line("power", "Liabilities:Power:Supplier", 950, 2_050, "Assets:Receivable:Client")
    assert sum(line.amount for line in lines) == 1_000
    contract = load_contract(EXAMPLE)
    paid = payout.PoolPayout("braiins", "hub", "tx", from_iso("2026-11-23T10:00:00Z"), 1_000, 0, "bc1q", "ab" * 32)
    bases = {"energy_wh": Fraction(100_000), "sat_per_tiyn": Fraction(1, 50)}
    portions = [payout.Portion(e, s, bases, {}) for e, s in contract.portions(Span(paid.at_ms - 1000, paid.at_ms))]
    made = payout.division(contract, paid, portions).transfers(contract, "ab" * 32)
    short = next(transfer for transfer in made if transfer.kind == "shortfall.power")
    assert (short.debit, short.credit, short.amount) == (
        "Assets:Receivable:Client",
        "Liabilities:Power:Supplier",
        2_050,
    )


def test_a_payout_over_two_editions_is_divided_by_both_for_their_share_of_the_time():
    contract = edited(
        (
            'valid_from = 2026-01-01\nsource = "Hosting',
            'valid_from = 2026-01-01\nvalid_to = 2026-07-01\nsource = "Hosting',
        )
    )
    with pytest.raises(ConfigError, match="no edition valid"):
        contract.portions(Span(from_iso("2026-06-30T20:00:00Z"), from_iso("2026-07-01T02:00:00Z")))
    second = TEXT[TEXT.index("[[edition]]") :].replace("2026-01-01", "2026-07-01").replace('"0.05"', '"0.10"')
    both = parse_contract(
        (
            TEXT.replace(
                'valid_from = 2026-01-01\nsource = "Hosting',
                'valid_from = 2026-01-01\nvalid_to = 2026-07-01\nsource = "Hosting',
            )
            + second
        ).encode(),
        "c",
    )
    # Midnight in Almaty is 19:00 UTC: five hours before, one hour after.
    span = Span(from_iso("2026-06-30T14:00:00Z"), from_iso("2026-06-30T20:00:00Z"))
    portions = both.portions(span)
    assert [(edition.number, part.hours) for edition, part in portions] == [(1, 5.0), (2, 1.0)]
    paid = payout.PoolPayout("braiins", "hub", "tx", span.end_ms, 6_000, 0, "bc1q", "ab" * 32)
    bases = {"energy_wh": Fraction(1_000), "sat_per_tiyn": Fraction(1, 50)}
    divided = payout.division(both, paid, [payout.Portion(e, s, bases, {}) for e, s in portions])
    city = [line.amount for _, lines in divided.portions for line in lines if line.step == "city"]
    assert city == [250, 100]
    made = divided.transfers(both, "ab" * 32)
    assert sum(t.amount for t in made if t.debit == both.undivided) == 6_000
    assert len({t.id for t in made}) == len(made)


def test_ten_faults_are_ten_messages_each_with_place_and_remedy():
    text = TEXT
    for old, new in (
        ('zone = "Asia/Almaty"', 'zone = "Asia/Nowhere"'),
        ('wallet = "Assets:Wallet:Main"', 'wallet = "assets:wallet"'),
        ('authority = "AIFC"', 'authority = "ABC"'),
        ("valid_to = 2029-01-01", "valid_to = 2025-01-01"),
        ('share = "0.75"', 'share = "1.75"'),
        ('rate = "1500"', "rate = 0.1"),
        ("per = 1000", "per = 0"),
        ('base = "energy_wh"', 'bass = "energy_wh"'),
        ('share = "0.7"', 'share = "0.8"'),
        ('rule = "share"\nof = "received"', 'rule = "gift"\nof = "received"'),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        parse_contract(text.encode(), "contract.toml")
    reported = [str(fault) for fault in caught.value.faults]
    assert all(fault.place.startswith("contract.toml, ") and fault.remedy for fault in caught.value.faults)
    for word in ("zone", "wallet", "authority", "valid_to", "share", "rate", "per", "base", "bass", "part", "rule"):
        assert any(f", {word}:" in line for line in reported), f"{word} in {reported}"
    assert len(reported) >= 10


@pytest.mark.parametrize(("change", "expected"), [
    (('share = "0.7"', 'share = "0.6"'), "undivided"),
    (('share = "0.7"', 'share = "0.71"'), "more than 1"),
    (('share = "0.05"', 'share = "0"'), "above 0"),
    (('share = "0.05"', 'share = 0.05'), "no decimal text"),
    (('rate = "1500"', 'rate = "0"'), "above zero"),
    (('rate = "1500"', 'rate = "-3"'), "above zero"),
    (('unit = "TIYN"', 'unit = "USD"'), "not known here"),
    (('venue = "example-venue"', 'venue = "other"'), "no venue"),
    (('city = "Liabilities:City:Treasury"', 'city = "Liabilities:City:Other"'), "no step pays the city"),
    (('name = "hosting"', 'name = "power"'), "two steps"),
    (('valid_from = 2026-01-01\nsource = "Hosting', 'valid_from = 2026-01-01T00:00:00Z\nsource = "Hosting'), "time of day"),
    (('[[edition]]\n', '[[edition]]\nextra = 1\n'), "not known here"),
])  # fmt: skip
def test_a_bad_contract_is_refused_with_the_reason(change: tuple[str, str], expected: str):
    assert any(expected in line for line in faults(change))


def test_two_editions_on_one_day_are_refused():
    with pytest.raises(ConfigError, match="both hold on"):
        parse_contract((TEXT + TEXT[TEXT.index("[[edition]]") :]).encode(), "contract.toml")


def test_no_contract_no_toml_no_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="not TOML"):
        parse_contract(b"[[", "x")
    with pytest.raises(ConfigError, match="Give the path"):
        load_contract(tmp_path / "none.toml")


def test_a_licence_holds_from_its_first_day_until_before_its_last():
    (venue,) = load_contract(EXAMPLE).venues
    assert exchange.licence_on([venue], "example-venue", venue.valid_from) is venue
    for day in (venue.valid_to, date(2025, 12, 31)):
        with pytest.raises(ConfigError, match="no licence holds"):
            exchange.licence_on([venue], "example-venue", day)


def test_the_share_to_sell_is_never_a_satoshi_short():
    assert [exchange.amount_to_sell(n, Fraction(3, 4)) for n in (1, 2, 3, 4, 5)] == [1, 2, 3, 3, 4]


def rate(value: str = "512.34", quant: int = 1) -> settlement.RecordedRate:
    return settlement.RecordedRate("USD", value, quant, date(2026, 11, 20), date(2026, 11, 20), "test", b"raw")


def test_tenge_are_rounded_once_and_the_banks_difference_is_booked():
    assert settlement.tiyn_for(3_975, rate()) == 2_036_552
    assert settlement.tiyn_for(3_975, rate("51234", 100)) == 2_036_552
    assert settlement.tiyn_for(1, rate("0.5")) == 1
    order = exchange.order_id(0, "x")
    trade = exchange.Trade("v", "T", order, 10, "1.00", 3_981, 6, 0, b"")
    for credited, expected in (
        (2_036_552, None),
        (2_036_560, ("settlement.gain", 8)),
        (2_036_500, ("settlement.loss", 52)),
    ):
        made: list[Transfer] = settlement.settlement(trade, rate(), "ab" * 32, credited)
        extra = [(transfer.kind, transfer.amount) for transfer in made[2:]]
        assert extra == ([expected] if expected else [])
        bank = sum(t.amount * ((t.debit == settlement.BANK) - (t.credit == settlement.BANK)) for t in made)
        assert bank == credited


def test_parties_accounts_keep_to_their_side():
    accounts = {account.code: account for account in load_contract(EXAMPLE).accounts()}
    assert accounts["Liabilities:City:Treasury"].keeps is Keeps.CREDIT
    assert accounts["Assets:Receivable:Client"].keeps is Keeps.DEBIT
    assert {account.unit for account in accounts.values()} == {Unit.SAT}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "jurisdictions").glob("*.toml")), ids=lambda path: path.name
)
def test_every_shipped_jurisdiction_loads_and_each_rule_has_its_source(path: Path):
    place = load_rules(path)
    assert place.rules
    for rule in place.rules:
        assert rule.source
        assert (rule.value is None) == (rule.sure == "U")


def test_unknown_and_unconfirmed_rules_of_kazakhstan_do_not_pass_silently():
    place = load_rules(ROOT / "configs" / "jurisdictions" / "kazakhstan.toml")
    assert place.on("kz.mandatory_sale.share", date(2025, 6, 30)).firm
    assert not place.on("kz.mandatory_sale.share", date(2026, 11, 23)).firm
    assert place.on("kz.mining_fee.rate", date(2022, 12, 31)).value == "1"
    with pytest.raises(ConfigError, match="unknown"):
        place.on("kz.mining_fee.rate", date(2026, 11, 23))
    with pytest.raises(ConfigError, match="no edition"):
        place.on("kz.mining_fee.rate", date(2021, 12, 31))
    assert place.on("kz.mining_fee.payment", date(2022, 12, 31)) != place.on("kz.mining_fee.payment", date(2023, 1, 1))
    assert "kz.mining_fee.rate" in place.unconfirmed(date(2026, 11, 23))


def test_a_bad_rule_file_reports_all_faults(tmp_path: Path):
    path = tmp_path / "x.toml"
    one = 'value = "1"\n'
    rows = [("a", one, "U"), ("b", "", "A"), ("c", one, "Z"), ("d", one, "A"), ("d", one, "A")]
    head = '[jurisdiction]\nname = "X"\ncurrency = "KZT"\nzone = "Asia/Almaty"\n'
    rule = '[[rule]]\nkey = "{}"\n{}unit = "u"\nvalid_from = 2026-01-01\nsource = "s"\nsure = "{}"\n'
    path.write_text(head + "".join(rule.format(*row) for row in rows))
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    assert len(caught.value.faults) == 4
