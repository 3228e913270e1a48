# SPDX-License-Identifier: Apache-2.0
"""The configuration folder of the recorded hub: two sites, one commanded and one observed only, with every kind of device.

Part of `make.py`, which ran once; see there.
"""

import re
import shutil
from pathlib import Path

from hub.demo_site import secret_file, write_feeds, write_inventory
from hub.twin.site import Site
from hub.twin.spec import TwinSpec, feeder_name
from kernel.clock import from_iso

ROOT = Path(__file__).resolve().parents[2]
EPOCH_MS = from_iso("2026-03-03T10:40:00+05:00")
PACE = 6.0
MODELS = {"antminer-s21": 3, "antminer-s19k-pro": 2, "whatsminer-m50s": 3, "vnish-s21-pro": 2}
NORTH = TwinSpec(
    hub="alatau", site="north", miners=10, seed=11, pace=PACE, models=MODELS, faults={}, feeders=2, rack_size=3,
    generation=((0.0, 0.0), (4200.0, 6000.0)), payout_every_s=600.0,
)  # fmt: skip
SOUTH = TwinSpec(
    hub="alatau", site="south", miners=2, seed=12, pace=PACE, models={"antminer-s21": 1}, faults={}, feeders=1,
    containers=0, miner_host="127.65.0.1",
)  # fmt: skip
DISPATCHER_SEED = "11" * 32
"""Private key of the dispatcher `grid-signed`: made up, like all secrets here."""

HUB = """# The recorded hub. Its devices were simulated; the addresses are those of documentation.
[hub]
name = "alatau"
data = "data"

[[sites]]
name = "north"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 50_000.0
other_load_share = 0.05
inrush_w_per_s = 1_500.0
pace = 6.0
inventory = "north.csv"
not_ours = ["hoster"]
passports = ["passport-meter-main.toml"]
heat_least_w = 500.0
run_on_s = 120.0

[[sites.reserve]]
direction = "down"
price_per_mwh = 1_500.0
max_w = 5_000.0

[sites.transformer]
rated_va = 80_000.0
assumed_ambient_c = 30.0

[sites.weather]
cold_c = -30.0
cold_least_w = 1_000.0

[sites.ladder]
margin_factor = 1.5
report_after_s = 900.0

[[sites.feeders]]
name = "f1"
cap_w = 40_000.0
phase_cap_w = 16_000.0
[[sites.feeders]]
name = "f2"
cap_w = 40_000.0

[[sites.meters]]
name = "meter-main"
role = "main"
profile = "schneider_iem3000"
host = "192.0.2.10"
unit = 1
billing = true
[[sites.meters]]
name = "meter-f1"
role = "feeder"
feeder = "f1"
profile = "abb_b23"
host = "192.0.2.10"
unit = 2
[[sites.meters]]
name = "meter-f2"
role = "feeder"
feeder = "f2"
profile = "abb_b23"
host = "192.0.2.10"
unit = 3
[[sites.meters]]
name = "meter-pv"
role = "generation"
profile = "abb_b23"
host = "192.0.2.10"
unit = 4

[[sites.containers]]
name = "container-1"
profile = "bitdeer_d40"
topic = "container-1-"

[[sites.sensors]]
name = "rtd-1"
profile = "seneca_z4rtd"
host = "192.0.2.20"

[[sites.switches]]
name = "relay-1"
profile = "waveshare_relay_8ch"
host = "192.0.2.21"

[[sites.loads]]
name = "pump-1"
kind = "pump"
device = "container-1"
power_w = 400.0
serves = { racks = ["f1-r01", "f1-r02"] }
[[sites.loads]]
name = "heater-1"
kind = "heater"
device = "relay-1"
index = 2
power_w = 300.0
serves = { feeders = ["f2"] }
[[sites.loads]]
name = "socket-7"
kind = "socket"
device = "container-1"
group = "pdu01"
index = 7
serves = { miners = ["miner-00007"] }

[[sites.loops]]
name = "tank-1"
device = "container-1"
supply = { device = "rtd-1", point = "temp_c" }
serves = { racks = ["f1-r01"] }
low_c = 5.0
loss_w_per_k = 40.0

[[sites]]
name = "south"
operator = "South Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 20_000.0
pace = 6.0
observe_only = true
inventory = "south.csv"
[[sites.feeders]]
name = "f1"
cap_w = 20_000.0
[[sites.meters]]
name = "meter-main"
role = "main"
profile = "schneider_iem3000"
host = "192.0.2.11"
unit = 1

[credentials.miners]
account = "root"
password_file = "secrets/miners.password"
[credentials.rotated]
account = "root"
password_file = "secrets/rotated.password"

[[pools.main]]
url = "stratum+tcp://pool.invalid:3333"
worker = "hub1.{name}"
[[pools.second]]
url = "stratum+tcp://second.invalid:3333"
worker = "hub1.{rack}x{position}"
password_file = "secrets/pool.password"

[[dispatchers]]
name = "grid-signed"
sites = ["north"]
public_key = "PUBLIC_KEY"

[mqtt]
host_id = "alatau-host"
orders_topic = "alatau/orders"

[prices]
folder = "feeds"
currency = "KZT"

[planning]
tariff = "tariffs/recorded_market.toml"
start_cost = 40.0
starts_per_day = 30
horizon = [[900.0, 3600.0], [1800.0, 21600.0]]
[[planning.auctions]]
zone = "Asia/Almaty"
input_until = "09:15"
source = "made up"
valid_from = 2026-01-01

[polling]
miner_fast_s = 150.0
miner_slow_s = 600.0
meter_s = 60.0
spread_s = 20.0
back_off_s = 60.0

[control]
tick_s = 60.0
stale_after_s = 300.0
command_deadline_s = 120.0

[money]
contract = "contracts/recorded-hub.toml"
pool_url = "http://127.0.0.1:9001"
pool_account = "hub1"
pool_token_file = "secrets/pool.token"
rates_url = "http://127.0.0.1:9002"
venue_url = "http://127.0.0.1:9003"
settle_every_s = 900.0

[billing]
slot_s = 900
grace_s = 60.0

[retention]
raw = { miner = 62, sensor = 2, meter = "forever" }
minute = { sensor = 2 }
quarter = { sensor = 2 }
hour = { sensor = 2 }

[ip_report]
listen = "127.0.0.1"

[[sinks]]
name = "store"
kind = "influx"
url = "http://127.0.0.1:8086"
[[sinks]]
name = "home"
kind = "mqtt"
prefix = "mining-hub"
discovery = "homeassistant"
"""


def write_folder(folder: Path) -> None:
    """`hub.toml` and all that it names."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(DISPATCHER_SEED)).public_key().public_bytes_raw()
    for name, text in (
        ("miners.password", "recorded"), ("rotated.password", "recorded-2"), ("pool.password", "x"),
        ("pool.token", "twin-pool-token"),
    ):  # fmt: skip
        secret_file(folder, name, text)
    for source, target in (
        ("contracts/example-hub.toml", "contracts/recorded-hub.toml"),
        ("tariffs/example_market.toml", "tariffs/recorded_market.toml"),
    ):
        (folder / target).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "configs" / source, folder / target)
    for spec in (NORTH, SOUTH):
        write_inventory(folder / f"{spec.site}.csv", _inventory(spec), {})
    (folder / "passport-meter-main.toml").write_text(
        '[point]\ndevice = "alatau/north/meter-main"\nzone = "Asia/Almaty"\nregister = "primary"\n'
        '[[installation]]\nserial = "MT01100001"\ntype = "schneider_iem3000"\napproval = "made up"\n'
        'installed = 2025-03-01T00:00:00+05:00\nact = "made up"\n'
        '[[verification]]\nserial = "MT01100001"\non = 2025-02-01T00:00:00+05:00\n'
        'expires = 2031-02-01T00:00:00+05:00\ncertificate = "made up"\nby = "made up"\n'
        '[[seal]]\nnumber = "S-1"\nset = 2025-03-01T00:00:00+05:00\nby = "made up"\n'
    )
    write_feeds(folder / "feeds", EPOCH_MS, NORTH.seed)
    (folder / "hub.toml").write_text(HUB.replace("PUBLIC_KEY", public.hex()))


SHIPPED = (
    "profiles/miners/antminer-s21.toml", "profiles/miners/antminer-s19k-pro.toml", "profiles/miners/antminer-s21-pro.toml",
    "profiles/miners/whatsminer-m50s.toml", "profiles/firmware/antminer.toml", "profiles/firmware/vnish.toml",
    "profiles/firmware/whatsminer.toml", "profiles/meters/schneider_iem3000.toml", "profiles/meters/abb_b23.toml",
    "profiles/containers/bitdeer_d40.toml", "profiles/sensors/seneca_z4rtd.toml",
    "profiles/switches/waveshare_relay_8ch.toml", "alarms/miners.toml", "alarms/meters.toml", "alarms/cooling.toml",
    "tariffs/bitcoin_subsidy.toml",
)  # fmt: skip


def write_configs(configs: Path) -> None:
    """What ships with the hub and the recording rests on, as it was then. Devices were asked rarely, to keep the recording
    small: no rule calls them silent sooner than that."""
    for name in SHIPPED:
        (configs / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "configs" / name, configs / name)
    for path in (configs / "alarms").iterdir():
        text = re.sub(r'type = "stale", after_s = \d+', 'type = "stale", after_s = 900', path.read_text())
        path.write_text(text)


def _inventory(spec: TwinSpec) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for place in Site(spec, EPOCH_MS).places:
        owner = "hoster" if (spec.site, place.index) == ("north", 9) else ""
        phase = "" if place.phase < 0 else str(place.phase)
        rows.append(
            {
                "device": place.device, "host": place.host, "ports": {}, "model": place.model.label,
                "dialect": place.model.dialect, "feeder": feeder_name(place.feeder), "rack": place.rack,
                "position": place.position, "serial": place.serial, "mac": place.mac, "owner": owner, "phase": phase,
            }
        )  # fmt: skip
    return rows
