# SPDX-License-Identifier: Apache-2.0
"""The folder of a simulated site: configuration, inventory, secrets and price files for a twin that serves.

What is written is what an operator would write for a real site; nothing in the hub knows that the devices are simulated,
but for `pace`, which divides the envelopes' times where the twin's miners live faster.
"""

import csv
import io
import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from kernel.clock import MS_PER_HOUR, iso, to_datetime
from kernel.span import floor_ms
from kernel.units import MS_PER_DAY
from miner_control.inventory.asset_register import COLUMNS
from twin.site import Site
from twin.spec import TwinSpec, feeder_name

ORDER_SHARE = 0.6
"""What the order of a demo or simulation leaves of the power that is drawn then."""

ZONE = "Asia/Almaty"
COIN_PRICE_KZT = 48_000_000.0
DIFFICULTY = 150e12
FEES_SAT = 4_000_000
HEIGHT = 975_000


def secret_file(folder: Path, name: str, text: str | None = None) -> str:
    """A secret in a file that the hub alone reads; made once. Returns its text."""
    path = folder / "secrets" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text or secrets.token_urlsafe(18))
    return path.read_text().strip()


def day_ahead_kzt_per_mwh(at_ms: int, seed: int) -> float:
    """A simulated hourly price: cheap nights, a morning and a dearer evening peak, some noise that the seed fixes."""
    local = to_datetime(at_ms).astimezone(ZoneInfo(ZONE))
    hour = local.hour
    shape = 11.0 + 5.5 * math.exp(-(((hour - 9.5) / 2.6) ** 2)) + 13.0 * math.exp(-(((hour - 20.0) / 2.4) ** 2))
    noise = ((at_ms // MS_PER_HOUR) * 2654435761 + seed * 40503) % 1000 / 1000.0
    return round(1000.0 * (shape + 2.0 * noise), 2)


def _csv(head: Mapping[str, str], rows: Sequence[tuple[int, int, float]]) -> str:
    lines = [f"# {key}: {value}" for key, value in head.items()]
    lines += ["start,end,value", *(f"{iso(start)},{iso(end)},{value}" for start, end, value in rows)]
    return "\n".join(lines) + "\n"


def write_feeds(folder: Path, now_ms: int, seed: int, days: int = 3) -> None:
    """Day-ahead prices and the facts behind the hashprice, from yesterday on."""
    folder.mkdir(parents=True, exist_ok=True)
    start_ms = floor_ms(now_ms, MS_PER_DAY) - MS_PER_DAY
    hours = [start_ms + index * MS_PER_HOUR for index in range(24 * days)]
    end_ms = hours[-1] + MS_PER_HOUR
    known = iso(floor_ms(now_ms, MS_PER_HOUR))
    prices = [(at, at + MS_PER_HOUR, day_ahead_kzt_per_mwh(at, seed)) for at in hours]
    files = {
        "day_ahead": ("price/day_ahead", "KZT/MWh", prices),
        "coin_price": ("coin_price", "KZT/BTC", [(start_ms, end_ms, COIN_PRICE_KZT)]),
        "difficulty": ("difficulty", "1", [(start_ms, end_ms, DIFFICULTY)]),
        "fees_sat": ("fees_sat", "SAT/block", [(start_ms, end_ms, float(FEES_SAT))]),
        "height": ("height", "block", [(start_ms, end_ms, float(HEIGHT))]),
    }
    for stem, (name, unit, rows) in files.items():
        head = {"name": name, "unit": unit, "known_at": known, "source": "simulated"}
        (folder / f"{stem}.csv").write_text(_csv(head, rows))


def credential_name(account: str) -> str:
    """The credential of an account in the folder of a simulated site; they share one password."""
    return "miners" if account == "root" else f"miners-{account or 'none'}"


def write_inventory(path: Path, miners: Sequence[Mapping[str, Any]], accounts: Mapping[str, str]) -> None:
    """The twin's miners as an operator's inventory. `accounts`: the account that each dialect writes as."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for miner in miners:
        row = {column: miner.get(column, "") for column in COLUMNS}
        row["device"] = str(miner["device"]).rpartition("/")[2]
        row["ports"] = " ".join(f"{name}={port}" for name, port in miner["ports"].items() if name in ("rpc", "http"))
        row["credential"] = credential_name(accounts.get(str(miner["dialect"]), "root"))
        writer.writerow(row)
    path.write_text(out.getvalue())


def write_passports(folder: Path, ready: Mapping[str, Any], now_ms: int) -> str:
    """Simulated papers of the main meter; returns the files' names as TOML."""
    names = []
    for meter in ready["meters"]:
        if meter["role"] != "main":
            continue
        name = f"passport-{str(meter['device']).rpartition('/')[2]}.toml"
        since = iso(floor_ms(now_ms, MS_PER_DAY) - 365 * MS_PER_DAY)
        until = iso(floor_ms(now_ms, MS_PER_DAY) + 7 * 365 * MS_PER_DAY)
        (folder / name).write_text(
            f'[point]\ndevice = "{meter["device"]}"\nzone = "{ZONE}"\nregister = "primary"\n'
            f'[[installation]]\nserial = "MB-1"\ntype = "{meter["profile"]}"\napproval = "simulated"\n'
            f'installed = {since}\nact = "simulated act no. 1"\n'
            f'[[verification]]\nserial = "MB-1"\non = {since}\nexpires = {until}\n'
            'certificate = "simulated no. 1"\nby = "simulated laboratory"\n'
            f'[[seal]]\nnumber = "S-1"\nset = {since}\nby = "simulated inspector"\n'
        )
        names.append(f'"{name}"')
    return f"[{', '.join(names)}]"


def write_site(folder: Path, ready: Mapping[str, Any], spec: TwinSpec, port: int, now_ms: int, quick: bool) -> Path:
    """`hub.toml` and all that it names. `quick`: the pace of a demonstration (settlements each few seconds)."""
    accounts = {str(dialect): str(account) for dialect, account in (ready.get("accounts") or {}).items()}
    write_inventory(folder / "inventory.csv", ready["miners"], accounts)
    write_feeds(folder / "feeds", now_ms, spec.seed)
    secret_file(folder, "pool.token", str(ready.get("pool_token", "")))
    feeders = sorted({str(miner["feeder"]) for miner in ready["miners"]} | {"f1"})
    capacity_w = max(1e5, 1.25 * 3600.0 * spec.miners)
    lines = [
        "# A simulated site. What stands here is what an operator writes for a real one.",
        f'[hub]\nname = "{spec.hub}"\ndata = "data"\nport = {port}\n',
        f'[[sites]]\nname = "{spec.site}"\noperator = "Simulated Mining LLP"\nzone = "{ZONE}"',
        f"import_cap_w = {capacity_w:.1f}\nother_load_share = {_overhead(spec):.6f}\nsimulated_speed_factor = {spec.pace}",
        'inventory = "inventory.csv"\ninrush_w_per_s = 400000.0',
        f"passports = {write_passports(folder, ready, now_ms)}\n",
    ]
    cap_w = 1.6 * 3600.0 * math.ceil(spec.miners / max(len(feeders), 1)) + 1e4
    lines += [f'[[sites.feeders]]\nname = "{name}"\ncap_w = {cap_w:.1f}\n' for name in feeders]
    for meter in ready["meters"]:
        feeder = f'feeder = "{meter["feeder"]}"\n' if meter.get("feeder") else ""
        lines.append(
            f'[[sites.meters]]\nname = "{str(meter["device"]).rpartition("/")[2]}"\nrole = "{meter["role"]}"\n'
            f'profile = "{meter["profile"]}"\nhost = "{meter["host"]}"\nport = {meter["port"]}\n'
            f"unit = {meter['unit']}\nbilling = {str(meter['role'] == 'main').lower()}\n{feeder}"
        )
    for container in ready["containers"]:
        lines.append(
            f'[[sites.containers]]\nname = "{str(container["device"]).rpartition("/")[2]}"\n'
            f'profile = "{container["profile"]}"\ntopic = "{container["topic_prefix"]}"\n'
        )
    settle_s = 5.0 if quick else 60.0
    broker = ready.get("mqtt") or {"host": "127.0.0.1", "port": 1883}
    lines += [
        *(
            f'[credentials.{credential_name(account)}]\naccount = "{account}"\npassword_file = "secrets/miners.password"\n'
            for account in sorted({"root", *accounts.values()})
        ),
        f'[mqtt]\nembedded = true\nhost = "{broker["host"]}"\nport = {broker["port"]}\n',
        '[prices]\ncurrency = "KZT"\n',
        '[[feeds]]\nkind = "csv_folder"\nname = "files"\noptions = { path = "feeds" }\n',
        '[[feeds]]\nkind = "hashprice"\nname = "hashprice"\ncurve = "hashprice"\n',
        '[planning]\ntariff = "tariffs/example_market.toml"\nstart_cost = 40.0\n',
        "[control]\ntick_s = 2.0\nstale_after_s = 30.0\ncommand_deadline_s = 60.0\n",
    ]
    if "pool_url" in ready:
        lines.append(
            f'[money]\ncontract = "contracts/example-hub.toml"\npool_url = "{ready["pool_url"]}"\n'
            f'pool_account = "{spec.pool_account}"\npool_token_file = "secrets/pool.token"\n'
            f'rates_url = "{ready["rates_url"]}"\nvenue_url = "{ready["venue_url"]}"\nsettle_every_s = {settle_s}\n'
        )
    path = folder / "hub.toml"
    path.write_text("\n".join(lines))
    (folder / "twin.json").write_bytes(orjson.dumps(spec.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
    return path


def write_simulated_site(folder: Path, world: Site, spec: TwinSpec, now_ms: int) -> Path:
    """The same folder for devices without sockets, at the pace of virtual time: polls, ticks and plans far apart."""
    ready = {
        "miners": [
            {
                "device": place.device, "host": place.host, "ports": {}, "model": place.model.label,
                "dialect": place.model.dialect, "feeder": feeder_name(place.feeder), "rack": place.rack,
                "position": place.position, "serial": place.serial, "mac": place.mac,
            }
            for place in world.places
        ],
        "meters": [
            {
                "device": meter.device, "host": "127.0.0.1", "port": 502, "unit": meter.unit_id,
                "role": "main" if meter.feeder is None else "feeder",
                "profile": spec.main_meter_profile if meter.feeder is None else spec.feeder_meter_profile,
                "feeder": None if meter.feeder is None else feeder_name(meter.feeder),
            }
            for meter in world.meters
        ],
        "containers": [],
    }  # fmt: skip
    secret_file(folder, "miners.password", "simulated")
    path = write_site(folder, ready, spec, 8787, now_ms, quick=False)
    text = path.read_text().replace("start_cost = 40.0", "start_cost = 40.0\nhorizon = [[1800.0, 86400.0]]")
    text = text.replace("tick_s = 2.0", "tick_s = 120.0").replace("stale_after_s = 30.0", "stale_after_s = 200.0")
    text = text.replace("command_deadline_s = 60.0", "command_deadline_s = 1800.0")
    text += "\n[polling]\nminer_fast_s = 60.0\nminer_slow_s = 3600.0\nmeter_s = 30.0\n"
    path.write_text(text)
    return path


def _overhead(spec: TwinSpec) -> float:
    """What the meter shows above the miners' sum, as the twin models it (the hub goes on learning it)."""
    losses = spec.losses
    miners_w = 3200.0 * max(spec.miners, 1)
    meter_w = miners_w * losses.feeder_factor * (1 + losses.transformer_share) + losses.transformer_fixed_w
    return meter_w / miners_w - 1.0
