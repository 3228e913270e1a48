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

from pydantic import ValidationError

from hub.config.faults import cross_faults, fault_of, is_echo, placed
from hub.config.lookup import CONFIGS
from hub.config.models import Config, Credential, MqttSinkPart, Prices, Site, StoreSink
from kernel.errors import ConfigError, Fault

__all__ = ["CONFIGS", "Config", "Credential", "MqttSinkPart", "Prices", "Site", "StoreSink", "load", "secret"]

ENV_PREFIX = "MINING_HUB__"


def load(path: Path, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Read, overlay, check. Raises ConfigError with all faults; the hub does not start on one."""
    environment = os.environ if environment is None else environment
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        remedy = f"Give {path / 'hub.toml'}" if path.is_dir() else "Give the path of a hub.toml"
        raise ConfigError([Fault(str(path), error.strerror or str(error), remedy)]) from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Fault(str(path), f"not TOML: {error}", "Mend the syntax at that line")]) from None
    overlaid = {**_environment_keys(environment), **dict(flags or {})}
    for dotted, value in overlaid.items():
        _put(raw, dotted.split("."), value)

    faults = list(cross_faults(raw, environment, path.parent))
    config: Config | None = None
    try:
        config = Config.model_validate(raw, context={"folder": path.parent})
    except ValidationError as error:
        items = [dict(item) for item in error.errors()]
        faults = [fault_of(item) for item in items if not is_echo(item, items)] + faults
    if faults or config is None:
        raise ConfigError([placed(fault, path, text, overlaid) for fault in faults])
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
