# SPDX-License-Identifier: Apache-2.0
"""Plug-ins by entry points: used by a simulated hub, and named with their distribution where they clash or break."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.app import app
from hub.config import load
from hub.wiring import empty_state
from hub.wiring.contained import Contained
from hub.wiring.named import Maker, Named, installed, lacks
from hub.wiring.plugins import DIALECTS, POOLS, REPORTS, DialectPorts, PoolSettings, check_kinds, pool_of
from hub.wiring.state import catalogue
from kernel.clock import system_clock
from kernel.errors import ConfigError, DecodeError, TransportError
from kernel.reading import Absence
from telemetry.store.sink import SinkDown
from tests.builders.distribution import installed_distribution

ROOT = Path(__file__).resolve().parents[3]

SITE = """
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
inventory = "inventory.csv"
[[sites.feeders]]
name = "f1"
cap_w = 2e6
"""


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Iterator[None]:
    """What is installed is read once a process; each test reads it anew."""
    installed.cache_clear()
    yield
    installed.cache_clear()
    for table in (DIALECTS, POOLS, REPORTS):
        table._loaded.clear()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def site(folder: Path, more: str = "", dialect: str = "antminer") -> Path:
    (folder / "inventory.csv").write_text(
        f"device,model,dialect,host,feeder\nm1,Antminer S19j Pro,{dialect},10.0.0.1,f1\n"
    )
    path = folder / "hub.toml"
    path.write_text(SITE + more)
    return path


def answer(*words: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, [*words, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


POOL = '''
"""A pool of its own, asked without a socket: it confirmed one payout, a quarter of an hour after the hub began."""
from datetime import timedelta
from hashlib import sha256

from kernel.clock import to_datetime
from treasury.payout import PoolPayout, PoolRecords


class Acme:
    def __init__(self, settings):
        self.settings, self.paid_ms = settings, settings.clock.now_ms() + 900_000

    async def read(self, first, last):
        raw = f"{self.settings.url} {self.settings.account} {self.settings.token}".encode()
        proof = sha256(raw).hexdigest()
        paid = PoolPayout(self.settings.name, self.settings.account, "p1", self.paid_ms, 250_000, 0, "bc1", proof)
        due = self.paid_ms <= self.settings.clock.now_ms()
        return PoolRecords((), (paid,) if due else (), (raw,))
'''

SIMULATED = """
import asyncio, json, sys
from pathlib import Path

from hub.app.demo_site import write_simulated_site
from hub.app.simulate import EPOCH, simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.config import CONFIGS, load
from kernel.clock import from_iso, loop_clock
from twin.site import Site
from twin.spec import TwinSpec

folder, epoch_ms, loop = Path(sys.argv[1]), from_iso(EPOCH), VirtualLoop()
spec = TwinSpec(hub="alatau", site="north", miners=4, seed=3)
path = write_simulated_site(folder, Site(spec, epoch_ms), spec, epoch_ms)
contract = (CONFIGS / "contracts" / "example-hub.toml").read_text().replace('pool = "braiins"', 'pool = "acme"')
(folder / "contract.toml").write_text(contract)
path.write_text(path.read_text() + '''
[money]
contract = "contract.toml"
pool_kind = "acme"
pool_url = "acme://account"
pool_account = "hub-7"
settle_every_s = 60.0
''')
config = load(path, environment={})


async def main():
    wired = await simulated(config, folder, folder / "data", spec, loop_clock(epoch_ms, loop.time))
    running = asyncio.create_task(wired.hub.run())
    await asyncio.sleep(3600)
    entries = [entry.body for entry in wired.report_store.ledger.entries()]
    paid = [body for body in entries if getattr(body, "kind", "") == "payout.received"]
    print(json.dumps({
        "paid": [[one.amount, one.effective_ms - epoch_ms] for one in paid],
        "faults": wired.report_store.open_items()[1],
        "ticks": wired.hub.ticks,
    }))
    wired.hub.stop()
    await running


run(main(), loop)
"""


def run_with(path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT
    )


def test_a_simulated_hub_settles_with_the_pool_of_an_installed_distribution(tmp_path: Path) -> None:
    plugin = installed_distribution(tmp_path / "lib", "acme-pool", "[mining_hub.pools]\nacme = acme_pool:Acme\n", POOL)
    (tmp_path / "site").mkdir()
    done = run_with(plugin, "-c", SIMULATED, str(tmp_path / "site"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["paid"] == [[250_000, 900_000]]


def test_a_plug_in_that_fails_while_the_hub_runs_is_a_fault_of_its_feed_and_control_goes_on(
    tmp_path: Path,
) -> None:
    source = (
        "class Acme:\n    def __init__(self, settings): ...\n"
        "    async def read(self, first, last):\n        raise KeyError('btc')\n"
    )
    plugin = installed_distribution(
        tmp_path / "lib", "acme-pool", "[mining_hub.pools]\nacme = acme_pool:Acme\n", source
    )
    (tmp_path / "site").mkdir()
    done = run_with(plugin, "-c", SIMULATED, str(tmp_path / "site"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["paid"] == [] and found["ticks"] > 20
    assert any("acme-pool 1.0" in text and "KeyError" in text for text in found["faults"]), found["faults"]


def test_the_command_lists_each_name_with_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(
        installed_distribution(tmp_path, "acme-pool", "[mining_hub.pools]\nacme = acme_pool:Acme\n", POOL)
    )
    code, found = answer("plugins")
    rows = {(row["what"], row["name"]): row["origin"] for row in found["plugins"]}
    assert code == 0 and rows["pool", "acme"] == "acme-pool 1.0"
    assert rows["pool", "braiins"] == rows["dialect", "antminer"] == rows["sink", "influx"] == "mining-hub"
    assert rows["report", "site-energy"] == rows["rates", "nbk"] == rows["venue", "http"] == "mining-hub"


def test_a_broken_plug_in_stops_only_the_hub_that_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = "[mining_hub.pools]\nacme = acme_pool:Acme\n[mining_hub.dialects]\nacme = acme_pool:DIALECT\n"
    monkeypatch.syspath_prepend(installed_distribution(tmp_path / "lib", "acme-pool", points, "1 / 0\n"))
    path = site(tmp_path)
    config = load(path, environment={})
    check_kinds(config)
    empty_state(config, catalogue())
    money = '[money]\ncontract = "contracts/example-hub.toml"\npool_url = "https://pool.example"\npool_kind = "acme"\n'
    used = load(site(tmp_path, money), environment={})
    with pytest.raises(
        ConfigError, match=r"money.pool_kind: .*'acme' of acme-pool 1.0 does not load: ZeroDivisionError"
    ):
        check_kinds(used)
    with pytest.raises(ConfigError, match=r"'acme' of acme-pool 1.0 does not load"):
        empty_state(load(site(tmp_path, dialect="acme"), environment={}), catalogue())
    code, found = answer("doctor", str(site(tmp_path)))
    (line,) = [check for check in found["checks"] if check["what"] == "plug-in pool acme"]
    assert code == 1 and not line["ok"] and "acme-pool 1.0 does not load" in line["text"]


def test_a_name_that_two_give_is_no_one_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, given in (("first", "acme"), ("second", "acme"), ("third", "braiins")):
        points = f"[mining_hub.pools]\n{given} = {name}:Acme\n"
        monkeypatch.syspath_prepend(installed_distribution(tmp_path / name, name, points, POOL))
    with pytest.raises(ConfigError, match=r"'acme' is given by (first 1.0 and second 1.0|second 1.0 and first 1.0)"):
        POOLS.find("acme", "money.pool_kind")
    with pytest.raises(ConfigError, match=r"'braiins' is given by mining-hub and third 1.0"):
        POOLS.find("braiins", "money.pool_kind")
    rows = {row.name: row.fault for row in POOLS.rows()}
    assert "first 1.0" in rows["acme"] and "third 1.0" in rows["braiins"]


def test_an_unknown_kind_lists_the_known_ones_and_every_fault_comes_at_once(tmp_path: Path) -> None:
    more = (
        '[money]\ncontract = "contracts/example-hub.toml"\npool_url = "https://pool.example"\npool_kind = "brains"\n'
        '[[sinks]]\nname = "one"\nkind = "inflix"\nurl = "http://127.0.0.1:1"\n'
    )
    with pytest.raises(ConfigError) as caught:
        check_kinds(load(site(tmp_path, more), environment={}))
    texts = {fault.place: f"{fault.problem}. {fault.remedy}" for fault in caught.value.faults}
    assert "braiins" in texts["money.pool_kind"] and "influx, influx1, mqtt, victoria" in texts["sinks.0.kind"]


def test_what_an_entry_point_gives_has_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "REPORT = 7\nclass Dialect:\n    def read(self): ...\ndef pool(settings):\n    return object()\n"
    points = (
        "[mining_hub.reports]\nodd = odd:REPORT\n[mining_hub.dialects]\nodd = odd:Dialect\n"
        "[mining_hub.pools]\nodd = odd:pool\nworse = odd:REPORT\n"
    )
    monkeypatch.syspath_prepend(installed_distribution(tmp_path, "odd", points, source))
    with pytest.raises(ConfigError, match=r"of odd 1.0 does not fit: it is no hub.reports.kind.ReportKind"):
        REPORTS.find("odd", "report")
    with pytest.raises(ConfigError, match=r"it has no carry_out, prepare, supports"):
        DIALECTS.find("odd", "miner m1")
    with pytest.raises(ConfigError, match=r"'worse' of odd 1.0 does not fit: it is no function or class"):
        POOLS.find("worse", "money.pool_kind")
    settings = PoolSettings("https://pool.example", "hub", "", "odd", system_clock())
    with pytest.raises(ConfigError, match=r"money.pool_kind: pool 'odd' of odd 1.0 does not fit: it has no read"):
        pool_of("odd", "money.pool_kind", settings)


def test_entry_points_that_cannot_be_read_are_a_line_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed_distribution(tmp_path, "torn", "[mining_hub.pools]\nno equals sign here\n"))
    assert "braiins" in POOLS and POOLS.find("braiins", "money.pool_kind")
    code, found = answer("plugins")
    assert code == 1 and any("torn 1.0" in text for text in found["unreadable"])


def test_the_ports_of_a_dialect_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "class Acme:\n    name = 'acme'\n    ports = (('http', 8081),)\n    def read(self): ...\n"
        "    carry_out = prepare = supports = read\nDIALECT = Acme()\n"
    )
    points = "[mining_hub.dialects]\nacme = acme_dialect:DIALECT\n"
    monkeypatch.syspath_prepend(installed_distribution(tmp_path, "acme-dialect", points, source))
    ports = DialectPorts()
    assert ports["acme"] == (("http", 8081),) and ports["luxos"] == (("rpc", 4028), ("http", 80))
    assert set(ports) == {*DIALECTS} and "acme" in ports and "acne" not in ports


def test_what_ships_fails_as_it_is_and_a_plug_in_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(settings: int) -> object:
        raise RuntimeError(f"no {settings}")

    source = "def pool(settings):\n    raise KeyError('url')\n"
    monkeypatch.syspath_prepend(
        installed_distribution(tmp_path, "rash", "[mining_hub.pools]\nrash = rash:pool\n", source)
    )
    table = Named("pool", "mining_hub.none", {"ours": failing}, lambda value: lacks(value, ()))
    with pytest.raises(RuntimeError, match="no 7"):
        Maker(table, ()).make("ours", "money.pool_kind", 7)
    settings = PoolSettings("https://pool.example", "hub", "", "rash", system_clock())
    with pytest.raises(ConfigError, match=r"pool 'rash' of rash 1.0 could not be made: KeyError"):
        pool_of("rash", "money.pool_kind", settings)


def test_errors_of_a_plug_in_name_it_and_those_of_its_port_pass(tmp_path: Path) -> None:
    class Odd:
        name = "odd"

        def read(self, access: object, tier: object, now_ms: int) -> Any:
            answer = yield "request"
            return answer["absent"]

        def send(self, batch: object) -> None:
            raise SinkDown("away")

        def poll(self, now_ms: int) -> Any:
            return [now_ms][1]

    odd = Contained(Odd(), ("read", "send", "poll"), "odd 1.0")
    talk = odd.read(None, None, 0)
    assert next(talk) == "request" and odd.name == "odd"
    with pytest.raises(DecodeError, match=r"odd 1.0.*KeyError"):
        talk.send({})
    with pytest.raises(DecodeError, match=r"odd 1.0.*IndexError"):
        odd.poll(0)
    with pytest.raises(SinkDown):
        odd.send(None)
    talk = odd.read(None, None, 0)
    next(talk)
    with pytest.raises(TransportError):
        talk.throw(TransportError(Absence.TIMED_OUT, "late"))
