# SPDX-License-Identifier: Apache-2.0
"""Faults of a configuration that no single table shows: doubled names, missing files, references to nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hub.config.lookup import listed, places
from kernel.errors import Fault
from kernel.toml_model import nearest


def cross_faults(raw: Mapping[str, Any], environment: Mapping[str, str], folder: Path) -> Iterator[Fault]:
    """What one table cannot know of another. Works on the raw tables, so that its faults are found together with the others."""
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
            if meter.get("role") == "generation" and meter.get("billing"):
                text = "energy of a generation meter is not billed"
                yield Fault(f"{here}.billing", text, "Leave it out: billed is what the main meter draws")
            profile = meter.get("profile")
            if isinstance(profile, str):
                yield from _profile_faults(folder, "meters", profile, f"{here}.profile")
        mains = [m for m in site.get("meters", []) if isinstance(m, dict) and m.get("role") == "main"]
        if len(mains) > 1:
            yield Fault(f"{place}.meters", f"{len(mains)} main meters", "Mark one as main; the others are sub meters")
        for kind in ("meters", "containers", "sensors", "switches"):
            for number, device in enumerate(d for d in site.get(kind, []) if isinstance(d, dict)):
                ways = [way for way in ("host", "topic", "sparkplug") if device.get(way)]
                here = f"{place}.{kind}.{number}"
                profile = device.get("profile")
                if kind != "meters" and isinstance(profile, str):
                    yield from _profile_faults(folder, kind, profile, f"{here}.profile")
                if not ways:
                    example = 'Add host = "192.0.2.10", or topic or sparkplug where it speaks unasked'
                    yield Fault(f"{here}.host", "is missing", example)
                elif len(ways) > 1:
                    yield Fault(
                        f"{here}.{ways[1]}", f"{' and '.join(ways)}: two ways to one device", "Keep one of them"
                    )
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
    yield from _feed_faults(raw)
    yield from _dispatcher_faults(raw)
    sinks = [sink for sink in raw.get("sinks") or [] if isinstance(sink, dict)]
    named = [sink.get("name") for sink in sinks]
    for number, sink in enumerate(sinks):
        if sink.get("name") is not None and named.index(sink.get("name")) < number:
            yield Fault(
                f"sinks.{number}.name", f"a second sink {sink['name']!r}", "Its mark in the journal goes by its name"
            )
        env = sink.get("token_env")
        if env and env not in environment:
            yield Fault(f"sinks.{number}.token_env", f"{env} is not set", "Set it in the environment of the hub")


def _dispatcher_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Who may order over MQTT proves it: by a signature, or by a broker that knows who publishes. The embedded one does not."""
    mqtt = raw.get("mqtt")
    embedded = mqtt.get("embedded", True) if isinstance(mqtt, dict) else True
    listed = raw.get("dispatchers")
    for number, one in enumerate(listed if isinstance(listed, list) else []):
        if not isinstance(one, dict):
            continue
        here, signs = f"dispatchers.{number}", one.get("must_sign", True)
        if signs is False and embedded is not False:
            yield Fault(
                f"{here}.must_sign", "is false, and the embedded broker does not tell who published",
                "Give a public_key and let it sign, or name a broker with access lists and embedded = false",
            )  # fmt: skip
        elif signs is True and not one.get("public_key"):
            yield Fault(f"{here}.public_key", "is missing: it must sign", "Enter its Ed25519 public key, 64 hex digits")


def _feed_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Two feeds of one name, or of one curve."""
    feeds = raw.get("feeds")
    tables = [feed for feed in feeds if isinstance(feed, dict)] if isinstance(feeds, list) else []
    for key, remedy in (
        ("name", "Give each feed its own name"),
        ("curve", "Keep one, or leave curve out where the data name theirs"),
    ):
        given = [table.get(key) for table in tables]
        for number, value in enumerate(given):
            if value is not None and given.index(value) < number:
                yield Fault(f"feeds.{number}.{key}", f"a second feed with {key} {value!r}", remedy)


def _profile_faults(folder: Path, kind: str, name: str, place: str) -> Iterator[Fault]:
    """A device profile that stands neither in the site's folder nor among those shipped."""
    known = [path.stem for path in listed(folder, f"profiles/{kind}")]
    if name not in known:
        looked = " and ".join(str(one) for one in places(folder, f"profiles/{kind}/{name}.toml"))
        yield Fault(place, f"no profile {name!r}: looked for {looked}", nearest(name, known))
