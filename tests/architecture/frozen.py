# SPDX-License-Identifier: Apache-2.0
"""Strings that never change, as the code of today has them: hashed into ids, stored, signed, or known to other programs.

    python -m tests.architecture.frozen          adds what is new to frozen.json; changes and drops nothing

Each section says in `WHY` what a change would break. Names of code are no part of it: a module or class may be renamed, and
then only what stands to the right here follows.
"""

import ast
import inspect
import json
import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from grid.compliance import Outcome
from grid.limit import PHASES, Priority
from grid.order import read_order
from grid.order_book import Authority, OrderBook
from grid.order_entry import Phase
from hub.api.access import Role
from hub.config import Prices
from hub.market import price_duty as feeds
from hub.reports import site_energy, treasury_statement
from hub.reports.sign import manifest
from hub.reports.write import report_name
from hub.state.legal_holds import CITED_KINDS, SETTLEMENT
from kernel.event import ALIASES, EventKind
from kernel.ids import business_id, device_key, sha256_hex
from kernel.metric import SCHEMAS, Nature
from kernel.money import Unit
from kernel.reading import Absence
from kernel.reason import Rule
from kernel.receipt import HubCause
from miner_control.control.auxiliary_load import LoadKind
from miner_control.fleet.command import (
    InstallFirmware,
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
    SwitchLoad,
    Wake,
    command,
)
from miner_control.fleet.miner import State
from miner_control.health import health
from miner_control.health.health import ANOTHER
from miner_control.health.wake_recovery import STEPS as RECOVERY_STEPS
from miner_control.health.wake_recovery import WHAT
from miner_control.inventory.asset_register import FACTS
from miner_control.inventory.feeder_mapping import STEPS
from miner_control.jobs.job import AGAIN
from scheduling.problem.exogenous import AMBIENT, COINCIDENT, GENERATION
from telemetry.alarm.alarm import AlarmState
from telemetry.store.archive import Step
from telemetry.store.retention import tombstones
from tests.architecture.outside import AT_MS, DEVICE, SITE, home_assistant, mqtt, prometheus, sinks, stores
from tests.architecture.settled import differences, fields, settled
from tests.recorded import look
from tests.recorded.pack import RECORDED, unpack
from tests.recorded.shipped import migrated, shipped_as
from treasury.account import CLEARING, ROOTS, Account, Keeps
from treasury.contract import load_contract
from treasury.export import FACTS as EXPORTED
from treasury.listing import KEYS
from treasury.transfer import GENESIS, Transfer, canonical, transfer_id

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "twin", "hub")
FROZEN = Path(__file__).with_name("frozen.json")

WHY = {
    "event_kinds": "Journals hold them: an event of an unknown kind is lost to the fold. Rename by an alias that is read.",
    "ids": "An order, command or transfer that came again would be another one: it would be carried out or booked twice.",
    "money": "Ids of transfers are made of these: a payout that was divided would be divided again.",
    "signed": "A report or voucher that was signed would no longer say the same, or no longer be verified.",
    "metrics": "Archive files, rollups, sinks and dashboards name their columns so: older values would no longer be found.",
    "words": "Journals, configurations and open tickets hold these words: what they stand for would be forgotten.",
    "curves": "Journalled prices are found under these names: the planner would find none.",
    "stores": "Files on disk have these tables, columns and places: an older data folder would no longer open.",
    "mqtt": "Other programs publish and subscribe there: orders and readings would reach nobody.",
    "home_assistant": "Entities are known by these ids: Home Assistant would show each device a second time, without history.",
    "prometheus": "Dashboards and alerts of the user ask for these names and labels.",
    "sinks": "Series in InfluxDB and VictoriaMetrics are named so: older values would stand under other names.",
}


def event_kinds() -> dict[str, Any]:
    """Kinds as they are stored, former names too. `written_before_rooms`: those of the recording in tests/recorded."""
    held = json.loads(FROZEN.read_text()) if FROZEN.exists() else {}
    before = held.get("event_kinds", {}).get("written_before_rooms", [])
    former = {name: str(kind) for name, kind in ALIASES.items()}
    return {"stored": sorted({*EventKind, *ALIASES}), "former": former, "written_before_rooms": before}


def ids() -> dict[str, Any]:
    """Ids of fixed inputs, and the bytes that a ledger entry is hashed of."""
    body = {"scope": SITE, "power_w": 1_500_000.0, "until": "2026-02-03T06:00:00Z", "reference": "D-117"}
    order = read_order(body, "grid", "rest", AT_MS)
    unnamed = read_order({**body, "reference": "", "from": "2026-02-03T05:00:00Z"}, "grid", "mqtt", AT_MS)
    book = OrderBook({SITE: 4e6})
    entered, _ = book.receive(order, Authority("grid", (SITE,)), AT_MS, body)
    intents = {
        "sleep": Sleep(), "wake": Wake(), "reboot": Reboot(), "power_target": PowerTarget(2500.0),
        "power_percent": PowerPercent(80.0), "mode": SetMode("low"), "locate": Locate(True), "locate off": Locate(False),
        "pools": SetPools((Pool("stratum+tcp://pool.example:3333", "hub1.m1"),)),
        "credential": SetCredential("root", "secret", "rotated"), "firmware": InstallFirmware("1.2.3", "ab" * 32),
        "roll back to stock": RollBackFirmware("stock"), "roll back": RollBackFirmware(), "switch": SwitchLoad(2, True),
    }  # fmt: skip
    transfer = Transfer(UUID(int=5), "Assets:A:B", "Equity:C:D", 7, Unit.SAT, "kind", AT_MS, "ab" * 32, note="note")
    return {
        "business_id": str(business_id(AT_MS, "a", 1, "b")),
        "transfer_id": str(transfer_id(AT_MS, "braiins", "hub1", "tx", "payout.received")),
        "campaign": str(business_id(AT_MS, "campaign", SITE, "low"))[-12:],
        "rack_proof": str(business_id(AT_MS, "proof", SITE, "r1", "r2"))[-12:],
        "device_key": device_key("alatau", "north", "m_1.a"),
        "order_with_reference": [order.id, entered],
        "order_without_reference": unnamed.id,
        "commands": {name: str(command(AT_MS, DEVICE, intent, "plan").id) for name, intent in intents.items()},
        "ledger_genesis": GENESIS.hex(),
        "ledger_transfer": canonical(9, AT_MS, transfer).decode().replace("\x1f", "|"),
        "ledger_account": canonical(8, AT_MS, Account("Assets:A:B", Unit.WH, Keeps.DEBIT, "n"))
        .decode()
        .replace("\x1f", "|"),
        "evidence": sha256_hex(b"evidence"),
    }


def money(place: Path) -> dict[str, Any]:
    """Accounts, steps and every transfer of a settlement under a contract; steps and accounts of those that ship."""
    contract = load_contract(RECORDED / "folder" / "contracts" / "recorded-hub.toml")
    shipped = [load_contract(path) for path in sorted((ROOT / "configs" / "contracts").glob("*.toml"))]
    return {
        "roots": list(ROOTS),
        "clearing": CLEARING,
        "units": [unit.value for unit in Unit],
        "keeps": [one.value for one in Keeps],
        "contracts": {
            one.id: {
                "steps": [step.name for edition in one.editions for step in edition.steps],
                "accounts": sorted(account.code for account in one.accounts()),
            }
            for one in shipped
        },
        "settled": settled(contract, place),
        "differences": differences(contract),
    }


def signed(place: Path) -> dict[str, Any]:
    """Fields of reports, their tables, signatures, exports and tombstones."""
    with shipped_as(RECORDED / "configs"):
        folder = migrated(unpack(place))
        made = look.reports(folder, *look.opened(folder))
    (stone,) = tombstones([("raw/meter/2026-02-03/04.parquet", "ab" * 32)], {"raw/meter/2026-02-03/04.parquet": "r"}, 5)
    sig = json.loads(next((folder / "data" / "reports").glob("*.sig")).read_text())
    return {
        "reports": {body["report"]: {"version": body["version"], "fields": fields(body)} for body in made.values()},
        "names": sorted(report_name(body) for body in made.values()),
        "tables": {
            site_energy.REPORT: " ".join(site_energy.COLUMNS),
            treasury_statement.REPORT: " ".join(treasury_statement.COLUMNS),
        },
        "signature": sorted(sig),
        "manifest": manifest({"a.json": b"{}"}, "key").decode(),
        "ledger_row": list(KEYS),
        "ledger_export": list(EXPORTED),
        "tombstone": sorted(stone.to_json()),
        "cited_kinds": {name: None if kinds is None else sorted(kinds) for name, kinds in CITED_KINDS.items()},
        "standing_hold": SETTLEMENT.cited_by,
    }  # fmt: skip


def metrics() -> dict[str, Any]:
    """Metric, unit and nature by kind."""
    return {
        kind: {name: f"{one.unit} {one.nature.value}".strip() for name, one in schema.items()}
        for kind, schema in SCHEMAS.items()
    }


def words() -> dict[str, Any]:
    """Words and numbers that are stored, and by which something is found again."""
    source = inspect.getsource(health)
    findings = re.findall(r'_finding\(\s*reading, "([a-z ]+)"', source)
    return {
        "missing": {reason.name.lower(): int(reason) for reason in Absence},
        "states": [state.value for state in State],
        "natures": [nature.value for nature in Nature],
        "hub_causes": [cause.value for cause in HubCause],
        "rules": [rule.value for rule in Rule],
        "priorities": {one.name.lower(): int(one) for one in Priority},
        "phases": list(PHASES),
        "order_phases": [phase.value for phase in Phase],
        "order_outcomes": [outcome.value for outcome in Outcome],
        "alarm_states": [state.value for state in AlarmState],
        "alarm_rules": sorted(_alarm_rules()),
        "tickets": sorted({*findings, ANOTHER, WHAT}),
        "facts": list(FACTS),
        "loads": [kind.value for kind in LoadKind],
        "wake_recovery": list(RECOVERY_STEPS),
        "rack_proof": list(STEPS),
        "again": AGAIN,
        "roles": [role.value for role in Role],
        "rollups": [step.value for step in Step],
    }


def _alarm_rules() -> list[str]:
    texts = [path.read_text() for path in (ROOT / "configs" / "alarms").glob("*.toml")]
    return [name for text in texts for name in re.findall(r'^id = "([^"]+)"', text, re.MULTILINE)]


def curves() -> dict[str, Any]:
    """Names of price and other curves, and the currency where none is named."""
    names = [
        feeds.MARKET,
        feeds.REAL_TIME,
        feeds.COIN,
        feeds.DIFFICULTY,
        feeds.FEES,
        feeds.HEIGHT,
        feeds.HASHPRICE,
        AMBIENT,
        COINCIDENT,
        GENERATION,
    ]
    return {"names": sorted(names), "currency": Prices().currency}


SECTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "event_kinds": lambda place: event_kinds(),
    "ids": lambda place: ids(),
    "money": money,
    "signed": signed,
    "metrics": lambda place: metrics(),
    "words": lambda place: words(),
    "curves": lambda place: curves(),
    "stores": stores,
    "mqtt": lambda place: mqtt(),
    "home_assistant": lambda place: home_assistant(),
    "prometheus": lambda place: prometheus(),
    "sinks": lambda place: sinks(),
}


@cache
def present(section: str) -> dict[str, Any]:
    """A section as it is now, as JSON values."""
    with tempfile.TemporaryDirectory() as made:
        found: dict[str, Any] = json.loads(json.dumps(SECTIONS[section](Path(made))))
    return found


ENDINGS = {"json", "key", "lock", "pepper", "png", "pub", "toml", "token"}
"""Of files."""


def literals() -> set[str]:
    """Event kinds by the look of them, of all texts in the packages that ship."""
    families = {kind.partition(".")[0] for kind in (*EventKind, *ALIASES)}
    found: set[str] = set()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    family, _, rest = node.value.partition(".")
                    if family in families and re.fullmatch(r"[a-z]+", rest) and rest not in ENDINGS:
                        found.add(node.value)
    return found


def changes(now: Any, before: Any, place: str = "") -> list[str]:
    """What was changed or taken away since `before`; what is new is none."""
    if isinstance(now, dict) and isinstance(before, dict):
        gone = [f"{place}/{key} is gone" for key in before if key not in now]
        return gone + [
            line for key in before if key in now for line in changes(now[key], before[key], f"{place}/{key}")
        ]
    if isinstance(now, list) and isinstance(before, list):
        return [f"{place}: {one!r} is gone" for one in before if one not in now]
    return [] if now == before else [f"{place}: was {before!r}, is {now!r}"]


def main() -> None:
    held = json.loads(FROZEN.read_text()) if FROZEN.exists() else {}
    now = {section: present(section) for section in SECTIONS}
    lines_ = changes(now, held)
    if lines_:
        sys.exit("nothing was written, for these never change:\n" + "\n".join(lines_))
    FROZEN.write_text(json.dumps(now, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
