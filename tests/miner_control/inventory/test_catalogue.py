# SPDX-License-Identifier: Apache-2.0
import csv
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from kernel.errors import ConfigError
from miner_control.fleet.envelope import Provenance
from miner_control.fleet.fleet import fleet_of, never_commanded, never_observed, roster_of
from miner_control.fleet.miner import Miner
from miner_control.inventory.capability import version_key
from miner_control.inventory.catalogue import Catalogue, load_catalogue
from miner_control.inventory.catalogue_csv import dialect_of, profile_text, slug, write
from scheduling.control import Terms, step
from tests.miner_control.dialect.recordings import ROOT as RECORDINGS

SHARED = RECORDINGS.parent
PROFILES = Path(__file__).resolve().parents[3] / "configs" / "profiles"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(
        sorted((PROFILES / "miners").glob("*.toml")),
        sorted((PROFILES / "firmware").glob("*.toml")),
        (PROFILES / "names").glob("*.toml"),
    )


def test_at_least_a_hundred_models_each_with_source_and_tier(catalogue: Catalogue):
    assert len(catalogue.models) >= 100
    for profile in catalogue.models.values():
        for variant in profile.variants:
            assert variant.source and variant.tier in "ABC" and variant.certainty, profile.model
            assert 5 < variant.power_w / (variant.hashrate_hs / 1e12) < 120, f"{profile.model} {variant.name}"


@pytest.mark.parametrize(
    "family", ["s17", "s19", "s21", "s23", "t21", "m30s", "m50", "m60", "m7", "a12", "a15", "a16", "sealminer", "ah3880",
     "proto", "bitaxe"],
)  # fmt: skip
def test_every_family_is_there(catalogue: Catalogue, family: str):
    assert any(family in name for name in catalogue.models)


def test_every_envelope_can_be_made(catalogue: Catalogue):
    made = 0
    for profile in catalogue.models.values():
        for dialect, editions in catalogue.firmwares.items():
            if not any(Path(profile.model).match(pattern) for pattern in editions[0].runs_on):
                continue
            envelope = catalogue.envelope(profile.model, dialect)
            powers = [mode.power_w for mode in envelope.modes]
            rates = [mode.hashrate_hs for mode in envelope.modes]
            assert powers == sorted(set(powers)) and rates == sorted(set(rates)), f"{profile.model} {dialect}"
            assert envelope.normal in envelope.names
            assert envelope.sleep_w < powers[0]
            assert envelope.ramp_up_s > 0 and envelope.min_off_s > 0
            made += 1
    assert made > 300


@pytest.mark.parametrize(
    ("text", "model", "variant"),
    [
        ("Antminer S19j Pro", "Antminer S19j Pro", ""),
        ("antminer s19j pro 100", "Antminer S19j Pro", "100"),
        ("Antminer S19j Pro (96T)", "Antminer S19j Pro", "96"),
        ("Antminer S19K Pro", "Antminer S19k Pro", ""),
        ("M30S++_VH60", "Whatsminer M30S++", ""),
        ("WhatsMiner M60S VK30", "Whatsminer M60S", ""),
        ("Antminer S19 Pro++", "Antminer S19 Pro++", ""),
        ("Bitaxe Gamma 601", "Bitaxe Gamma 601", ""),
    ],
)
def test_names_as_people_and_miners_write_them(catalogue: Catalogue, text: str, model: str, variant: str):
    found = catalogue.find(text)
    assert found is not None
    assert found[0].model == model
    assert not variant or found[1].name == variant


@pytest.mark.parametrize(
    ("text", "power_w"),
    [
        ("Antminer S21 Hydro", 5360.0), ("Antminer S21 Imm.", 3824.0), ("Antminer S19 Pro Hydro", 5221.0),
        ("Antminer S19 Hydro", 5451.0), ("Antminer S19j Pro Plus", 3300.0), ("AvalonMiner 15-194", 3647.0),
        ("AvalonMiner 1246-83", 3420.0), ("M60SVK40", 3478.0), ("Whatsminer M63S Hydro", 7344.0),
        ("Antminer S19 (Vnish 1.2.0)", 3250.0), ("Antminer S19J Pro NoPic", 3068.0),
    ],
)  # fmt: skip
def test_other_spellings_of_a_name_are_that_model(catalogue: Catalogue, text: str, power_w: float):
    found = catalogue.find(text)
    assert found is not None and found[1].power_w == power_w


@pytest.mark.parametrize(
    "text",
    [
        "Antminer S21 Pro+", "Antminer S19 XP+", "S19-88", "Antminer S19J88NoPic", "Antminer S19j Pro 105",
        "Antminer S21 Immersion Lite", "Antminer S19 (Special)", "AT1500", "Whatsminer M30S Hydro", "Antminer", "", "+", "S",
    ],
)  # fmt: skip
def test_a_part_or_a_rate_that_no_profile_has_makes_it_unknown(catalogue: Catalogue, text: str):
    assert catalogue.find(text) is None


def test_each_profile_is_found_by_its_own_name_and_by_each_of_its_variants(catalogue: Catalogue):
    for profile in catalogue.models.values():
        for text in (profile.model, profile.model.upper(), f" {profile.model} "):
            assert catalogue.find(text) == (profile, profile.variant())
        for variant in profile.variants:
            assert catalogue.find(f"{profile.model} {variant.name}T") == (profile, variant)


def test_faults_of_the_names_come_with_file_and_key(tmp_path: Path):
    (tmp_path / "names.toml").write_text(
        'wrod = {}\n[[marks]]\npattern = "("\nsource = "x"\n[without_profile]\npower_w = 0\n'
    )
    (tmp_path / "more.toml").write_text('[[marks]]\npattern = "("\nsource = "x"\n')
    with pytest.raises(ConfigError) as caught:
        load_catalogue([], [], sorted(tmp_path.glob("*.toml")))
    text = str(caught.value)
    for part in ("names.toml wrod", "names.toml without_profile", "more.toml marks[0] pattern"):
        assert part in text, text


def test_a_plus_makes_another_model(catalogue: Catalogue):
    plain, plus = catalogue.find("Antminer S19j Pro"), catalogue.find("Antminer S19j Pro+")
    assert plain and plus and plain[0].model != plus[0].model
    assert catalogue.find("Antminer S99") is None


def test_what_is_assumed_says_so_and_what_is_captured_is_used(catalogue: Catalogue):
    assert catalogue.envelope("Whatsminer M50S", "whatsminer").provenance is Provenance.ASSUMED
    luxos = catalogue.envelope("Antminer S19k Pro", "luxos")
    assert luxos.provenance is Provenance.SOURCED and len(luxos.modes) > 5
    stock = catalogue.envelope("Antminer S21", "antminer")
    assert stock.names == ("normal",) and stock.mode("normal").power_w == 3500.0


def test_capabilities_by_version(catalogue: Catalogue):
    assert catalogue.capability("braiins", "25.07.1").intents
    assert catalogue.capability("braiins", "22.08").intents == {"Sleep", "Wake"}
    assert "Sleep" not in catalogue.capability("bitaxe", "2.0.0").intents
    assert version_key("20251209.16.Rel") == (20251209, 16)
    with pytest.raises(ConfigError, match="S21 with nobody"):
        catalogue.envelopes([("Antminer S21", "nobody"), ("Antminer S21", "antminer")])


def test_a_model_without_a_profile_has_assumed_figures_and_only_what_its_firmware_carries_out_for_any_model(
    catalogue: Catalogue,
):
    for model in ("Antminer S99", ""):
        made = catalogue.envelopes([(model, "antminer"), ("Antminer S21", "antminer")])
        unknown, known = made[model, "antminer"], made["Antminer S21", "antminer"]
        assert not unknown.profiled and known.profiled
        assert unknown.names == ("normal",) and unknown.provenance is Provenance.ASSUMED and unknown.model == model
        assert {"Sleep", "Wake", "Reboot"} <= unknown.commands and unknown.can_sleep
    assert (
        "PowerTarget"
        in catalogue.envelope("Antminer S19k Pro", "luxos").commands
        | catalogue.envelope("Antminer S21", "braiins").commands
    )
    for dialect in catalogue.firmwares:
        unknown = catalogue.envelope("Antminer S99", dialect)
        assert not unknown.commands & {"SetMode", "PowerTarget", "PowerPercent", "InstallFirmware"}
        assert unknown.power_range is None


def test_all_faults_at_once(tmp_path: Path):
    models, firmwares = tmp_path / "m", tmp_path / "f"
    models.mkdir()
    firmwares.mkdir()
    (models / "a.toml").write_text('make = "X"\ncooling = "air"\n[[variants]]\nname = "1"\npower_w = -4\n')
    (models / "b.toml").write_text("make = \n")
    (firmwares / "c.toml").write_text(
        'dialect = "c"\nname = "c"\nunit = "W"\nsource_url = "x"\n[checked]\nagainst = "x"\n'
        '[[versions]]\nintents = ["Fly"]\nsession = "none"\njoined_commands = "no"\nconnections = 1\n'
        '[versions.dynamics]\nsleep_w = {value = 1.0, provenance = "guessed"}\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_catalogue(sorted(models.glob("*.toml")), firmwares.glob("*.toml"))
    text = str(caught.value)
    for part in (
        "a.toml model", "a.toml unit", "a.toml source_url", "a.toml checked", "a.toml variants[0] power_w",
        "a.toml variants[0] hashrate_ths", "b.toml", "line 1", "'Fly'", "runs_on", "provenance 'guessed'", "ramp_up_s",
    ):  # fmt: skip
        assert part in text, f"{part} not in\n{text}"


def test_the_generator(tmp_path: Path):
    head = (
        "make,model,variant_ths,power_w,j_per_th,cooling,release_year,boards,chips_per_board,chip,fans,voltage,modes,"
        "inlet_temp_min_c,inlet_temp_max_c,source,certainty,tier\n"
    )
    models, curves, folder = tmp_path / "m.csv", tmp_path / "c.csv", tmp_path / "out"
    folder.mkdir()
    models.write_text(
        head
        + 'Acme,Rig X+,100,3000,30,air,2024,3,108,,4,,low power:60:1500;normal energy:100:3000,,40,"a list",sourced,B\n'
        "Acme,Rig X+,,,,air,,,,,,,,,,nothing,sourced,C\n"
    )
    curves.write_text(
        "make,model,firmware,profile,power_w,ths,freq_mhz,source,certainty\n"
        "Acme,Rig X+,LuxOS 1,p,1000,40,300,s,captured\n"
        "Acme,Rig X+,LuxOS 1,default,3000,100,500,s,captured\n"
    )
    assert write(models, curves, folder) == 1
    found = load_catalogue(folder.glob("*.toml"), (PROFILES / "firmware").glob("*.toml")).models["rigx+"]
    assert (folder / "rig-x-plus.toml").exists() and slug("Rig X+") == "rig-x-plus"
    assert [mode.name for mode in found.variant().modes] == ["low", "normal"]
    assert [mode.name for mode in found.curves[0].modes] == ["300MHz", "default"]
    taken_in_hand = (folder / "rig-x-plus.toml").read_text().replace("[checked]", '[checked]\nby = "a person"')
    (folder / "rig-x-plus.toml").write_text(taken_in_hand)
    write(models, curves, folder)
    assert (folder / "rig-x-plus.toml").read_text() == taken_in_hand
    assert dialect_of("VNish/LuxOS/Braiins (preset catalogue)") is None
    row = {**dict.fromkeys(head.strip().split(","), ""), "make": "a", "model": "b", "variant_ths": "1", "power_w": "20"}
    assert "SPDX" in profile_text([{**row, "tier": "C"}], [])


def test_capabilities_are_what_the_dialects_can_do(catalogue: Catalogue):
    from miner_control.dialect import DIALECTS

    assert set(catalogue.firmwares) == set(DIALECTS)
    for name, dialect in DIALECTS.items():
        newest = catalogue.capability(name)
        assert newest.intents == dialect.supports(), name
        assert (newest.power_target is not None) == ("PowerTarget" in newest.intents), name
        assert (newest.percent is not None) == ("PowerPercent" in newest.intents), name


def test_the_normal_preset_stays_among_the_thinned(catalogue: Catalogue):
    for model, dialect in (
        ("Antminer S19k Pro", "luxos"),
        ("Antminer S19j Pro", "luxos"),
        ("Antminer S21 Pro", "vnish"),
    ):
        envelope = catalogue.envelope(model, dialect)
        assert envelope.normal in envelope.names and len(envelope.modes) <= 12
    assert catalogue.envelope("Antminer S19k Pro", "luxos").normal == "default"
    assert catalogue.envelope("Avalon Q", "avalon").names == ("eco", "standard", "super")


def facts(name: str) -> list[dict[str, str]]:
    path = SHARED / "facts" / name
    if not path.is_file():
        pytest.skip(f"NO FACTS at {path}: set MINING_HUB_SHARED")
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_nameplate_and_preset_is_one_that_was_published(catalogue: Catalogue):
    """No number of a profile is our own: each stands in the lists of models and curves that name its source."""
    plates = {
        (row["model"], round(float(row["variant_ths"]), 2), round(float(row["power_w"])))
        for row in facts("miner_models.csv")
        if row["variant_ths"] and row["power_w"]
    }
    presets: dict[str, list[tuple[float, float]]] = {}
    for row in facts("miner_curves.csv"):
        if row["power_w"] and row["ths"]:
            presets.setdefault(row["model"], []).append((float(row["power_w"]), float(row["ths"])))
    for profile in catalogue.models.values():
        for variant in profile.variants:
            reported = (profile.model, round(variant.hashrate_hs / 1e12, 2), round(variant.power_w))
            assert reported in plates, reported
            for below, above in pairwise(variant.modes):
                assert below.power_w < above.power_w and below.hashrate_hs < above.hashrate_hs, profile.model
        for mode in (mode for curve in profile.curves for mode in curve.modes):
            assert any(
                abs(watts - mode.power_w) <= 1.0 and abs(ths * 1e12 - mode.hashrate_hs) <= 0.006 * mode.hashrate_hs
                for watts, ths in presets[profile.model]
            ), f"{profile.model} {mode}"


def test_the_scheduler_reads_capabilities_without_any_network(monkeypatch: pytest.MonkeyPatch):
    """From the files alone to the columns that planner and control step rest on."""
    from hub.wiring.state import catalogue as from_configs

    def none(*args: object, **words: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", none)
    monkeypatch.setattr(socket, "create_connection", none)
    found = from_configs()
    kinds = [("Antminer S21", "antminer"), ("Whatsminer M60S", "whatsminer_v3"), ("Antminer S19k Pro", "luxos")]
    envelopes = found.envelopes(kinds)
    miners = [Miner(f"h/s/m{at}", model, dialect, "127.0.0.1", (), "f1") for at, (model, dialect) in enumerate(kinds)]
    roster = roster_of(miners, envelopes)
    decision = step(0, fleet_of(roster, never_observed(roster), never_commanded(roster), 0), None, [], Terms("h/s"))
    assert decision.expected_w == pytest.approx(
        sum(envelopes[kind].mode(envelopes[kind].normal).power_w for kind in kinds)
    )
    assert roster.can_sleep.all() and (roster.min_off_s > 0).all()
