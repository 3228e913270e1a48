# SPDX-License-Identifier: Apache-2.0
import asyncio
import socket
from pathlib import Path

import pytest

from hub.config import Config, load
from kernel.errors import ConfigError
from tests.builders.config_text import GOOD
from tests.builders.faulty_config import TEN_FAULTS

EXPECTED = {
    "2, hub.name": "a-z 0-9",
    "3, hub.port": "65535",
    "4, hub.colour": "Write one of: data, host,",
    "6, sites.0.operator": "Add it",
    "8, sites.0.zone": "Asia/Almaty",
    "9, sites.0.import_cap_w": "greater than 0",
    "10, sites.0.inventory": "no such file",
    "14, sites.0.feeders.0.cap_w": "valid number",
    "21, sites.0.meters.0.feeder": "Write one of: f1",
    "19, sites.0.meters.0.profile": "eastron_sdm630",
    "24, polling.miner_fast_s": "greater than 0",
}


def test_every_fault_is_reported_at_once_with_place_and_remedy(tmp_path: Path):
    path = tmp_path / "hub.toml"
    path.write_text(TEN_FAULTS)
    with pytest.raises(ConfigError) as caught:
        load(path, environment={})
    reported = {
        fault.place.removeprefix(f"{path}:"): f"{fault.problem}. {fault.remedy}" for fault in caught.value.faults
    }
    assert reported.keys() == EXPECTED.keys()
    for place, words in EXPECTED.items():
        assert words in reported[place]


def test_environment_and_flags_overlay_the_file(tmp_path: Path):
    path = tmp_path / "hub.toml"
    path.write_text(GOOD)
    config = load(path, flags={"hub.port": 9000}, environment={"MINING_HUB__POLLING__MINER_FAST_S": "7.5"})
    assert config.hub.port == 9000 and config.polling.miner_fast_s == 7.5 and config.hub.host == "127.0.0.1"
    with pytest.raises(ConfigError, match="environment or flag, hub.port"):
        load(path, flags={"hub.port": "x"}, environment={})


def test_a_secret_that_is_not_there_is_named_and_none_stands_in_the_file(tmp_path: Path):
    path = tmp_path / "hub.toml"
    path.write_text(
        GOOD + '[credentials.a]\naccount = "root"\npassword_env = "NOT_SET"\n[credentials.b]\naccount = "x"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(path, environment={})
    assert [fault.problem for fault in caught.value.faults] == ["NOT_SET is not set", "no password source"]


def test_a_taken_port_is_reported_before_anything_is_started(tmp_path: Path):
    from hub.app.live import start

    async def run(config: Config) -> None:
        async with start(config, tmp_path):
            pytest.fail("it started")

    path = tmp_path / "hub.toml"
    path.write_text(GOOD)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = load(path, flags={"hub.port": other.getsockname()[1]}, environment={})
        with pytest.raises(ConfigError, match="hub.port.*cannot be had") as caught:
            asyncio.run(run(config))
    assert "another port" in caught.value.faults[0].remedy and not (tmp_path / "data").exists()


def test_broken_toml_and_a_missing_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="Give the path"):
        load(tmp_path / "none.toml", environment={})
    path = tmp_path / "hub.toml"
    path.write_text("[hub\n")
    with pytest.raises(ConfigError, match="not TOML.*line 1"):
        load(path, environment={})


SITE_OF_ONE = """[hub]
name = "h"
[[sites]]
name = "s"
operator = "o"
zone = "UTC"
import_cap_w = 1.0
[[sites.feeders]]
name = "f"
cap_w = 1.0
[[dispatchers]]
name = "room"
"""


def test_who_orders_over_mqtt_proves_it(tmp_path: Path):
    """On the embedded broker anybody could publish to a dispatcher's topic."""
    path, signs, broker = tmp_path / "hub.toml", f'public_key = "{"0" * 64}"\n', "[mqtt]\nembedded = false\n"
    for more, place in (("must_sign = false\n", "dispatchers.0.must_sign"), ("", "dispatchers.0.public_key")):
        path.write_text(SITE_OF_ONE + more)
        with pytest.raises(ConfigError, match=place):
            load(path, environment={})
    for more in (signs, "must_sign = false\n" + broker, signs + broker):
        path.write_text(SITE_OF_ONE + more)
        assert load(path, environment={}).dispatchers[0].name == "room"
