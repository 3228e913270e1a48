# SPDX-License-Identifier: Apache-2.0
"""The configuration: TOML, then environment (`MINING_HUB__HUB__NAME=...`), then flags, to one frozen `Config`.

Every fault is found at once, each with file, line and key, and what to do. Secrets never stand in the file: a credential
names an environment variable or a file.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.config.faults import cross_faults
from hub.config.feeds import Prices
from hub.config.lookup import CONFIGS
from hub.config.models import Config, Credential, MqttSinkPart, Site, StoreSink
from hub.config.renamed import refused, renamed
from kernel.errors import ConfigError, Fault
from kernel.toml_model import checked, parse_toml, placed, read_text

__all__ = ["CONFIGS", "Config", "Credential", "MqttSinkPart", "Prices", "Site", "StoreSink", "load", "secret"]

ENV_PREFIX = "MINING_HUB__"


def load(path: Path, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Read, overlay, check. Raises ConfigError with all faults; the hub does not start on one."""
    environment = os.environ if environment is None else environment
    text = read_text(path, f"Give {path / 'hub.toml'}" if path.is_dir() else "Give the path of a hub.toml")
    raw = parse_toml(text, str(path))
    overlaid = {**_environment_keys(environment), **dict(flags or {})}
    for dotted, value in overlaid.items():
        _put(raw, dotted.split("."), value)

    former = refused(raw, str(path))
    raw = renamed(raw)  # so that the other faults are those of the values, not of their keys
    config, faults = checked(Config, raw, {"folder": path.parent})
    faults = [*former, *faults, *cross_faults(raw, environment, path.parent)]
    if faults or config is None:
        raise ConfigError([_placed(fault, path, text, overlaid) for fault in faults])
    return config


def _placed(fault: Fault, path: Path, text: str, overlaid: Mapping[str, Any]) -> Fault:
    if fault.place in overlaid:
        return Fault(f"environment or flag, {fault.place}", fault.problem, fault.remedy)
    return placed(fault, path, text)


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
