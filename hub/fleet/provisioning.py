# SPDX-License-Identifier: Apache-2.0
"""What commands need and no journal may hold: pool lists with their passwords, credentials, firmware images.

Names stand in the configuration and in the journal; secrets and bytes are looked up here when a command leaves.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hub.config import Config, Site, secret
from hub.fleet.firmware_store import FirmwareStore, Image
from kernel.errors import ConfigError, Fault
from miner_control.control.readback import is_version
from miner_control.fleet.command import InstallFirmware, Intent, Pool, SetCredential, SetPools
from miner_control.fleet.fleet import STATES, Fleet
from miner_control.fleet.intent_text import intent_of
from miner_control.fleet.miner import Miner
from miner_control.health.health import PoolRule, host_of
from miner_control.health.third_party_control import worker_name
from miner_control.jobs.job_plan import Fits


class Provisions:
    """Over the configuration, its folder, the hub's data folder and the miners by device key."""

    def __init__(self, config: Config, folder: Path, data: Path, miners: Mapping[str, Miner]) -> None:
        self._config, self._folder, self._miners = config, folder, miners
        self.shelf = FirmwareStore(data)

    def intent(self, text: str) -> tuple[Intent, Fits]:
        """The intent of a text, and the miners it fits; also `pools=NAME`, `credential=NAME`, `firmware=VERSION`.

        Raises ConfigError with what is not there.
        """
        fits = Fits()

        def firmware(version: str) -> Intent:
            nonlocal fits
            image = self.shelf.named(version)
            fits = Fits(image.dialect, image.model)
            return InstallFirmware(image.version, image.sha256)

        asked = intent_of(text, {"pools": self._pools, "credential": self._credential, "firmware": firmware})
        return asked, fits

    def _pools(self, name: str) -> Intent:
        if name not in self._config.pools:
            raise ConfigError([_unknown("pools", name, self._config.pools)])
        return SetPools(tuple(Pool(part.url, part.worker) for part in self._config.pools[name]))

    def _credential(self, name: str) -> Intent:
        if name not in self._config.credentials:
            raise ConfigError([_unknown("credentials", name, self._config.credentials)])
        return SetCredential(self._config.credentials[name].account, "", name)

    def pool_rule(self, site: Site) -> PoolRule | None:
        """Which pools are ours; None where none is configured. Worker names are judged where there is one template."""
        parts = [part for entries in self._config.pools.values() for part in entries]
        if not parts:
            return None
        templates = {part.worker for part in parts}
        key = f"{self._config.hub.name}/{site.name}/"
        workers: dict[str, str] = {}
        if len(templates) == 1:
            (template,) = templates
            workers = {d: worker_name(template, m) for d, m in self._miners.items() if d.startswith(key)}
        return PoolRule(frozenset(host_of(part.url) for part in parts), workers=workers)

    def stands(self, device: str, fleet: Fleet, where: Mapping[str, str]) -> bool:
        """Whether a miner fits patterns of `rack`, `model`, `feeder`, `firmware` and `state`; the empty mapping fits all."""
        miner = self._miners[device]
        state = STATES[int(fleet.state[fleet.roster.index[device]])].value
        reported = {
            "rack": miner.rack, "model": miner.model, "feeder": miner.feeder, "firmware": miner.dialect, "state": state,
        }  # fmt: skip
        return all(fnmatch.fnmatchcase(reported[key], pattern) for key, pattern in where.items())

    def named(self, device: str, intent: Intent) -> Intent:
        """The intent with this miner's own names in it: what is journalled. No secret."""
        if not isinstance(intent, SetPools):
            return intent
        pools = (replace(pool, user=worker_name(pool.user, self._miners[device])) for pool in intent.pools)
        return SetPools(tuple(pools))

    def armed(self, intent: Intent) -> Intent:
        """The intent with what must not be journalled. Raises ConfigError where it cannot be found."""
        match intent:
            case SetPools(pools):
                return SetPools(tuple(replace(pool, password=self._pool_password(pool)) for pool in pools))
            case SetCredential(account, _, name):
                held = self._config.credentials[name]
                password = secret(held.password_env, held.password_file, self._folder)
                if not password:
                    raise ConfigError([Fault(f"credentials.{name}", "has no password", "Fill its file or variable")])
                return SetCredential(account, password, name)
            case InstallFirmware(version, sha256, _):
                return InstallFirmware(version, sha256, self.shelf.take(sha256))
            case _:
                return intent

    def image_of(self, device: str, firmware: object, images: Sequence[Image]) -> InstallFirmware | None:
        """The image for this miner of the version that it tells, or None where none of `images` is that."""
        miner = self._miners[device]
        for image in images:
            fits = fnmatch.fnmatchcase(miner.dialect, image.dialect) and fnmatch.fnmatchcase(miner.model, image.model)
            if fits and is_version(firmware, image.version):
                return InstallFirmware(image.version, image.sha256)
        return None

    def _pool_password(self, pool: Pool) -> str:
        for parts in self._config.pools.values():
            for part in parts:
                if part.url == pool.url:
                    return secret(part.password_env, part.password_file, self._folder) or "x"
        return "x"


def _unknown(table: str, name: str, known: Mapping[str, object] | Sequence[str]) -> Fault:
    return Fault(f"{table}.{name}", "stands not in hub.toml", f"Known: {', '.join(sorted(known)) or 'none'}")
