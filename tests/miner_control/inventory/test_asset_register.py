# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from kernel.errors import ConfigError
from miner_control.inventory.asset_register import Fact, facts_toml, inventory_csv, load_register

GOOD = """device,model,dialect,host,ports,feeder,rack,phase,owner,serial,mac
m1,Antminer S21,antminer,10.0.0.1,,f1,r1,0,us,SN1,AA:BB:CC:00:00:01
m2,Whatsminer M50S,whatsminer,10.0.0.2,rpc=14028,f2,r1,,hoster,SN2,
"""


def test_an_inventory_is_read_and_written(tmp_path: Path):
    path = tmp_path / "inventory.csv"
    path.write_text(GOOD)
    found = load_register(path, "hub", "north")
    assert [miner.device for miner in found.miners] == ["hub/north/m1", "hub/north/m2"]
    assert found.miners[0].ports == (("rpc", 4028), ("http", 80)) and found.miners[1].ports == (("rpc", 14028),)
    assert found.phases == {"hub/north/m1": 0} and found.miners[0].mac == "aa:bb:cc:00:00:01"
    path.write_text(inventory_csv(found))
    assert load_register(path, "hub", "north") == found


def test_all_faults_of_an_inventory_at_once(tmp_path: Path):
    path = tmp_path / "inventory.csv"
    path.write_text(
        "device,model,dialect,host,ports,feeder,phase,serial,colour\n"
        "M 1,Antminer S21,antminer,10.0.0.1,,f1,,SN1,red\n"
        "m2,,abacus,10.0.0.2,ssh=22,,7,SN2,\n"
        "m3,Antminer S21,antminer,10.0.0.3,,f1,,SN3,\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_register(path, "hub", "north")
    text = str(caught.value)
    for part in ("colour", ":2 device", "'M 1'", ":3 feeder: is empty", "abacus", "ssh=22"):
        assert part in text


def test_two_of_a_kind_are_named(tmp_path: Path):
    path = tmp_path / "inventory.csv"
    path.write_text(GOOD + "m2,Antminer S21,antminer,10.0.0.1,,f1,,,,SN1,\n")
    with pytest.raises(ConfigError) as caught:
        load_register(path, "hub", "north")
    text = str(caught.value)
    assert "device hub/north/m2" in text and "address 10.0.0.1" in text and "serial SN1" in text


def test_places_are_dated_facts(tmp_path: Path):
    path = tmp_path / "inventory.csv"
    path.write_text(GOOD)
    first = load_register(path, "hub", "north", facts_at_ms=1000)
    moved = first.learn(
        [Fact("hub/north/m1", "feeder", "f2", 5000, "rack pulse"), Fact("hub/north/m1", "rack", "r1", 5000, "a person")]
    )
    assert moved.miners[0].feeder == "f2"
    held = [moved.at("hub/north/m1", "feeder", at_ms) for at_ms in (999, 1000, 4999, 5000)]
    assert [fact.value if fact else None for fact in held] == [None, "f1", "f1", "f2"]
    assert len(moved.facts) == len(first.facts) + 1, "what is known already is not repeated"


def test_facts_go_through_toml(tmp_path: Path):
    path = tmp_path / "inventory.toml"
    path.write_text(
        '[[miners]]\ndevice = "m1"\nmodel = "Antminer S21"\ndialect = "antminer"\nhost = "::1"\nfeeder = "f1"\n'
        'ports = {rpc = 4028}\n[[facts]]\ndevice = "m1"\nwhat = "feeder"\nvalue = "f9"\nfrom = "2026-01-01T00:00:00Z"\n'
    )
    found = load_register(path, "hub", "north")
    assert found.miners[0].feeder == "f9" and found.miners[0].host == "::1"
    assert 'value = "f9"' in facts_toml(found)
    path.write_text(
        '[[miners]]\ndevice = "m1"\n[[facts]]\ndevice = "m1"\nwhat = "feeder"\nvalue = "x"\nfrom = "soon"\n'
    )
    with pytest.raises(ConfigError, match="facts\\[0\\]"):
        load_register(path, "hub", "north")


def test_late_facts_of_an_earlier_day_move_no_miner(tmp_path: Path):
    path = tmp_path / "inventory.csv"
    path.write_text(GOOD)
    register = load_register(path, "hub", "north", facts_at_ms=1000)
    register = register.learn([Fact("hub/north/m1", "feeder", "f2", 5000, "rack pulse")])
    late = register.learn([Fact("hub/north/m1", "feeder", "f9", 3000, "a person")])
    assert late.miners[0].feeder == "f2"
    held = [fact.value for at_ms in (1000, 3000, 5000) if (fact := late.at("hub/north/m1", "feeder", at_ms))]
    assert held == ["f1", "f9", "f2"]


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "cp1251"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_an_inventory_edited_in_a_spreadsheet_is_read(code: str, delimiter: str, tmp_path: Path):
    path = tmp_path / "inventory.csv"
    path.write_bytes(GOOD.replace("hoster", "ТОО Север").replace(",", delimiter).encode(code))
    found = load_register(path, "hub", "north")
    assert len(found.miners) == 2 and found.miners[1].owner == "ТОО Север"


def test_addresses_are_kept_in_their_one_form_and_names_are_not_looked_up(tmp_path: Path):
    path = tmp_path / "inventory.csv"
    path.write_text(GOOD.replace("10.0.0.1", "[FD00:0:0::00A5]"))
    assert load_register(path, "hub", "north").miners[0].host == "fd00::a5"
    path.write_text(GOOD.replace("10.0.0.1", "fd00::a5").replace("10.0.0.2,rpc=14028", "FD00::A5,rpc=4028 http=80"))
    with pytest.raises(ConfigError, match="address fd00::a5"):
        load_register(path, "hub", "north")
    for name in ("miner-7.lan", "10.0.0.300", "10.0.0.1:4028"):
        path.write_text(GOOD.replace("10.0.0.1", name))
        with pytest.raises(ConfigError, match="is no address"):
            load_register(path, "hub", "north")


def test_what_a_device_calls_itself_is_not_calculated_by_a_spreadsheet(tmp_path: Path):
    path = tmp_path / "inventory.csv"
    path.write_text(GOOD.replace("SN1", "=cmd|' /C calc'!A0").replace("hoster", "-5+6"))
    found = load_register(path, "hub", "north")
    path.write_text(inventory_csv(found))
    assert ",'=cmd|" in path.read_text() and ",'-5+6," in path.read_text()
    assert load_register(path, "hub", "north") == found
