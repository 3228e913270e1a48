# SPDX-License-Identifier: Apache-2.0
"""The configuration: TOML, then environment (`MINING_HUB__HUB__NAME=...`), then flags, to one frozen `Config`.

Every fault is found at once, each with file, line and key, and what to do. Secrets never stand in the file: a credential
names an environment variable or a file.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from kernel.errors import ConfigError, Fault

ENV_PREFIX = "MINING_HUB__"
CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", text):
        raise ValueError("use 1 to 63 of a-z 0-9 . _ - (starting with a letter or digit)")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("not a zone of the IANA database, such as Asia/Almaty") from None
    return text


def _existing(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    for place in (folder / path, CONFIGS / path):
        if place.exists():
            return Path(place).resolve()
    raise ValueError(f"no such file: looked for {folder / path} and configs/{path}")


Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
Existing = Annotated[Path, AfterValidator(_existing)]
Port = Annotated[int, Field(ge=1, le=65535, examples=[1883])]
Watts = Annotated[float, Field(gt=0, examples=[4_000_000.0])]
Seconds = Annotated[float, Field(gt=0, le=86_400, examples=[5.0])]


class Part(BaseModel):
    """One table of the configuration: unknown keys are faults, values do not change after the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Feeder(Part):
    """A branch of the site behind its own breaker."""

    name: Name
    cap_w: Watts


class Device(Part):
    """A polled device: its profile, where it is reached and how. `parameters` fills what its profile leaves to the site."""

    name: Name
    profile: Name
    host: str = Field(examples=["192.0.2.10"])
    port: Port = 502
    unit: int | None = Field(default=None, ge=0, le=255)
    framing: Literal["tcp", "rtu+tcp", "serial"] = "tcp"
    baudrate: int = Field(default=9600, ge=300)
    parity: Literal["N", "E", "O"] = "N"
    parameters: Mapping[str, float] = Field(default_factory=dict)
    credential: Name | None = None
    billing: bool = False


class Meter(Device):
    """A meter. `billing` keeps its raw frames as evidence."""

    role: Literal["main", "feeder", "sub"]
    feeder: Name | None = None


class Container(Device):
    """A container: polled at `host`, or speaking unasked over MQTT under `topic`."""

    host: str = ""
    topic: str = Field(default="", examples=["c1"])


class Dispatcher(Part):
    """Who may give orders over MQTT. Without `must_sign` the broker's access list must tie the topic to the credential."""

    name: Name
    sites: tuple[Name, ...] = ()
    public_key: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    must_sign: bool = True


class Site(Part):
    """One site of the hub: its operator, zone, connection and devices."""

    name: Name
    operator: str = Field(min_length=1, examples=["North Mining LLP"])
    zone: Zone = Field(examples=["Asia/Almaty"])
    import_cap_w: Watts
    ramp_w_per_s: float | None = Field(default=None, gt=0)
    inrush_w_per_s: float = Field(default=200_000.0, gt=0)
    other_load_share: float = Field(default=0.0, ge=0, le=1)
    observe_only: bool = False
    pace: float = Field(default=1.0, ge=1.0, le=1000.0)
    """Make-believe sites only: their miners live this much faster, and envelopes' times are divided by it."""
    inventory: Existing | None = None
    feeders: tuple[Feeder, ...] = Field(min_length=1)
    meters: tuple[Meter, ...] = ()
    containers: tuple[Container, ...] = ()
    sensors: tuple[Device, ...] = ()


class Credential(Part):
    """An account at devices; the password comes from the environment or a file, never from here."""

    account: str
    password_env: str | None = None
    password_file: Path | None = None


class Polling(Part):
    """How often each kind is asked, per tier."""

    miner_fast_s: Seconds = 5.0
    miner_slow_s: Seconds = 300.0
    meter_s: Seconds = 1.0
    timeout_s: Seconds = 5.0
    in_flight: int = Field(default=500, ge=1, le=20_000)


class Mqtt(Part):
    """The broker; `embedded` starts one of our own on loopback where no other is configured."""

    embedded: bool = True
    host: str = "127.0.0.1"
    port: Port = 1883
    credential: Name | None = None
    tls_ca: Existing | None = None
    orders_topic: str = "mining-hub/orders"


class Prices(Part):
    """Where prices and network facts come from: a folder of CSV files, each with its known_at."""

    folder: Path = Path("feeds")
    currency: str = Field(default="KZT", pattern=r"[A-Z]{3}")
    stale_after_s: float = Field(default=86_400.0, gt=0)
    lowest_per_mwh: float = -500_000.0
    highest_per_mwh: float = 5_000_000.0


class Planning(Part):
    """The planner's horizon and cadence; limits of the solver count iterations, never seconds."""

    horizon: tuple[tuple[float, float], ...] = ((300.0, 7_200.0), (900.0, 86_400.0))
    every_s: Seconds = 300.0
    tariff: Existing | None = None
    start_cost: float = Field(default=0.0, ge=0)
    starts_per_day: int | None = Field(default=None, ge=0)
    milp_nodes: int = Field(default=200, ge=0)


class Control(Part):
    """The pace of the control step."""

    tick_s: Seconds = 5.0
    stale_after_s: Seconds = 30.0
    policy: Literal["modes_first", "merit"] = "modes_first"
    command_deadline_s: Seconds = 120.0


class Money(Part):
    """Pool, rate feed, venue and the contract that divides what is mined. Without a pool nothing is settled."""

    contract: Existing | None = None
    pool_url: str | None = None
    pool_account: str = "hub"
    pool_token_env: str | None = None
    pool_token_file: Path | None = None
    rates_url: str | None = None
    venue_url: str | None = None
    settle_every_s: Seconds = 600.0


class Influx(Part):
    """An InfluxDB (or VictoriaMetrics) to forward to. `path` chooses the write API."""

    url: str = Field(examples=["http://127.0.0.1:8086"])
    path: Literal["v2", "v1"] = "v2"
    org: str = "mining-hub"
    bucket: str = "mining-hub"
    token_env: str | None = None
    texts: bool = True
    """False for VictoriaMetrics, which turns texts into zeros."""
    every_s: Seconds = 10.0


class HubPart(Part):
    """The hub itself."""

    name: Name
    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: Port = 8787
    journal_days: float = Field(default=40.0, ge=1)


class Config(Part):
    """Everything that the hub is told before it starts."""

    hub: HubPart
    sites: tuple[Site, ...] = Field(min_length=1)
    credentials: Mapping[str, Credential] = Field(default_factory=dict)
    dispatchers: tuple[Dispatcher, ...] = ()
    polling: Polling = Polling()
    mqtt: Mqtt = Mqtt()
    prices: Prices = Prices()
    planning: Planning = Planning()
    control: Control = Control()
    money: Money = Money()
    influx: Influx | None = None

    @field_validator("hub")
    @classmethod
    def _loopback_unless_told(cls, hub: HubPart) -> HubPart:
        if hub.host in ("", "*"):
            raise ValueError("write the address to listen on, such as 127.0.0.1")
        return hub


def load(path: Path, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Read, overlay, check. Raises ConfigError with all faults; the hub does not start on one."""
    environment = os.environ if environment is None else environment
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Fault(str(path), error.strerror or str(error), "Give the path of a hub.toml")]) from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Fault(str(path), f"not TOML: {error}", "Mend the syntax at that line")]) from None
    overlaid = {**_environment_keys(environment), **dict(flags or {})}
    for dotted, value in overlaid.items():
        _put(raw, dotted.split("."), value)

    faults = list(_cross_faults(raw, environment, path.parent))
    config: Config | None = None
    try:
        config = Config.model_validate(raw, context={"folder": path.parent})
    except ValidationError as error:
        items = [dict(item) for item in error.errors()]
        faults = [_fault(item) for item in items if not _echo(item, items)] + faults
    if faults or config is None:
        raise ConfigError([_placed(fault, path, text, overlaid) for fault in faults])
    return config


def secret(
    env: str | None, file: Path | None, folder: Path, environment: Mapping[str, str] | None = None
) -> str | None:
    """A secret by its reference, or None where none is given. Never logged, never in an error text."""
    environment = os.environ if environment is None else environment
    if env:
        return environment.get(env)
    if file:
        return (folder / file).read_text(encoding="utf-8").strip()
    return None


def _environment_keys(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in environment.items():
        if key.startswith(ENV_PREFIX):
            try:
                value: Any = tomllib.loads(f"v = {text}")["v"]
            except tomllib.TOMLDecodeError:
                value = text
            found[key[len(ENV_PREFIX) :].lower().replace("__", ".")] = value
    return found


def _put(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        raw = raw.setdefault(key, {})
    raw[keys[-1]] = value


def _cross_faults(raw: Mapping[str, Any], environment: Mapping[str, str], folder: Path) -> Iterator[Fault]:
    """What one table cannot know of another. Works on the raw tables, so that it finds its faults beside the others."""
    sites = (
        [site for site in raw.get("sites", []) if isinstance(site, dict)] if isinstance(raw.get("sites"), list) else []
    )
    names = [site.get("name") for site in sites]
    for index, site in enumerate(sites):
        place = f"sites.{index}"
        if site.get("name") is not None and names.index(site.get("name")) < index:
            yield Fault(f"{place}.name", f"a second site {site['name']!r}", "Give each site its own name")
        feeders = [feeder.get("name") for feeder in site.get("feeders", []) if isinstance(feeder, dict)]
        seen: set[str] = set()
        for number, meter in enumerate(m for m in site.get("meters", []) if isinstance(m, dict)):
            here = f"{place}.meters.{number}"
            name, feeder = meter.get("name"), meter.get("feeder")
            if name in seen:
                yield Fault(f"{here}.name", f"a second meter {name!r}", "Give each meter of a site its own name")
            seen.add(str(name))
            if feeder is not None and feeder not in feeders:
                known = ", ".join(map(str, feeders)) or "none"
                yield Fault(f"{here}.feeder", f"no feeder {feeder!r} in this site", f"Write one of: {known}")
            if meter.get("role") == "feeder" and feeder is None:
                yield Fault(f"{here}.feeder", "a feeder's meter names no feeder", 'Add feeder = "..."')
            profile = meter.get("profile")
            if isinstance(profile, str) and not _profile_exists(profile, "meters"):
                yield Fault(f"{here}.profile", f"no profile {profile!r}", _nearest(profile, _profiles("meters")))
        mains = [m for m in site.get("meters", []) if isinstance(m, dict) and m.get("role") == "main"]
        if len(mains) > 1:
            yield Fault(f"{place}.meters", f"{len(mains)} main meters", "Mark one as main; the others are sub meters")
    for key, table in (raw.get("credentials") or {}).items() if isinstance(raw.get("credentials"), dict) else ():
        if not isinstance(table, dict):
            continue
        env, file = table.get("password_env"), table.get("password_file")
        here = f"credentials.{key}"
        if not env and not file:
            yield Fault(here, "no password source", "Add password_env or password_file")
        elif env and env not in environment:
            yield Fault(f"{here}.password_env", f"{env} is not set", "Set it in the environment of the hub")
        elif file and not env and not (folder / str(file)).is_file():
            yield Fault(
                f"{here}.password_file", f"no such file {file}", "Create it, readable by the hub alone (mode 600)"
            )


def _profiles(folder: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / "profiles" / folder).glob("*.toml"))


def _profile_exists(name: str, folder: str) -> bool:
    return (CONFIGS / "profiles" / folder / f"{name}.toml").is_file()


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else f"Write one of: {', '.join(known[:8]) or 'none known'}"


def _model_at(loc: tuple[Any, ...]) -> tuple[type[BaseModel] | None, str]:
    """The model that holds the last named key of a location, and that key."""
    model: type[BaseModel] | None = Config
    owner, last = model, ""
    for step in loc:
        if isinstance(step, int) or model is None:
            continue
        owner, last = model, str(step)
        info = model.model_fields.get(last)
        model = _inner(info.annotation) if info else None
    return owner, last


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _inner(part)
        if found:
            return found
    return None


def _echo(error: dict[str, Any], all_errors: list[dict[str, Any]]) -> bool:
    """Whether a list is called too short only because its own entries are at fault."""
    loc = error["loc"]
    return error["type"] == "too_short" and any(
        len(e["loc"]) > len(loc) and e["loc"][: len(loc)] == loc for e in all_errors
    )


def _fault(error: dict[str, Any]) -> Fault:
    loc = tuple(error["loc"])
    place = ".".join(map(str, loc)) or "(whole file)"
    model, key = _model_at(loc)
    info = model.model_fields.get(key) if model else None
    example = f", for example {key} = {info.examples[0]!r}" if info and info.examples else ""
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        return Fault(place, "is missing", f"Add it{example}")
    if kind == "extra_forbidden":
        return Fault(place, "is not known here", _nearest(key, sorted(model.model_fields) if model else []))
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return Fault(place, f"{message[0].lower()}{message[1:]}{shown}", f"Correct the value{example}")


def _placed(fault: Fault, path: Path, text: str, overlaid: Mapping[str, Any]) -> Fault:
    if fault.place in overlaid:
        return Fault(f"environment or flag, {fault.place}", fault.problem, fault.remedy)
    line = _line_of(text, fault.place.split("."))
    where = f"{path}:{line}" if line else str(path)
    return Fault(f"{where}, {fault.place}", fault.problem, fault.remedy)


def _line_of(text: str, keys: list[str]) -> int | None:
    """The line of a key path such as sites.0.meters.1.host; of its table where the key itself is absent."""
    counts: dict[str, int] = {}
    best, wanted = None, list(keys)
    current: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if header := re.match(r"(\[\[?)\s*([A-Za-z0-9_.\-\"]+)\s*\]", stripped):
            current = _indexed(header[2].replace('"', ""), header[1] == "[[", counts)
            if current == wanted[: len(current)]:
                best = number
            if current == wanted:
                return number
        elif (assigned := re.match(r"([A-Za-z0-9_\-]+)\s*=", stripped)) and [*current, assigned[1]] == wanted[
            : len(current) + 1
        ]:
            return number
    return best


def _indexed(header: str, array: bool, counts: dict[str, int]) -> list[str]:
    """A table header with the indexes of the array tables that it stands in."""
    parts, path, plain = header.split("."), [], ""
    for position, part in enumerate(parts):
        plain = f"{plain}.{part}" if plain else part
        path.append(part)
        last = position == len(parts) - 1
        if array and last:
            scope = ".".join(path)
            counts[scope] = counts.get(scope, -1) + 1
            path.append(str(counts[scope]))
        elif ".".join(path) in counts:
            path.append(str(counts[".".join(path)]))
    return path
