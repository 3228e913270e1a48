# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from kernel.clock import from_iso
from kernel.errors import ConfigError
from kernel.span import Span, even_slots
from telemetry.energy.energy_figure import figure
from telemetry.energy.energy_register import Samples
from telemetry.energy.passport import load_passport
from telemetry.energy.series import energy_on_slots

EXAMPLE = Path(__file__).parents[3] / "configs" / "passports" / "example_main_meter.toml"


def span(first: str, last: str) -> Span:
    return Span(from_iso(first), from_iso(last))


def test_the_example_is_complete_and_contains_the_replacement() -> None:
    passport = load_passport(EXAMPLE)
    (change,) = passport.changes()
    assert change.at_ms == from_iso("2026-02-10T11:30:00+05:00")
    assert (change.final_wh, change.initial_wh, change.factor) == (48_211_000, 12_000, 4000)
    assert passport.unfit(span("2025-06-01T00:00:00Z", "2026-06-01T00:00:00Z")) == ()
    assert passport.terms(most_w=1e6).factor == 4000


def test_a_figure_over_the_replacement_is_whole_and_prints_what_it_rests_on() -> None:
    passport = load_passport(EXAMPLE)
    day = span("2026-02-10T00:00:00+05:00", "2026-02-11T00:00:00+05:00")
    minutes = np.arange(0, 24 * 60 + 1)
    at_ms = day.start_ms + minutes * 60_000
    act_minute = 11 * 60 + 30
    counts = np.where(minutes < act_minute, 48_211_000 - (act_minute - minutes), 12_000 + minutes - act_minute)
    ok = np.ones(len(minutes), dtype=np.bool_)
    samples = Samples(at_ms, counts.astype(np.float64), ok, np.full(len(minutes), 240_000.0), ok)
    energy = energy_on_slots(samples, even_slots(day, 3600), passport.terms(most_w=1e6), passport.changes())
    found = figure(passport.device, energy, passport)
    assert found.energy_wh == 24 * 60 * 4000 and found.coverage == 1.0 and found.fit
    reported = found.to_json()
    assert [one["serial"] for one in reported["passport"]["meters"]] == ["A-100200", "A-200300"]
    assert reported["passport"]["seals"] == ["S-0001", "S-0002"] and reported["passport"]["unfit"] == []
    assert reported["fit_for_billing"] is True
    assert figure(passport.device, energy, None).fit is False


def test_expired_verification_faults_and_seals_are_intervals(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("expires = 2033-02-20", "expires = 2025-12-31")
    text = text.replace('number = "S-0002"\nset = 2026-02-10T11:30:00+05:00', 'number = "S-0002"\nset = 2026-02-12')
    text += '\n[[fault]]\nfrom = 2026-03-01\nto = 2026-03-02\ntext = "phase L2 lost"\nact = "act no. 9"\n'
    (tmp_path / "p.toml").write_text(text)
    passport = load_passport(tmp_path / "p.toml")
    found = passport.unfit(span("2025-12-01T00:00:00+05:00", "2026-04-01T00:00:00+05:00"))
    assert [(str(part), why) for part, why in found] == [
        (str(span("2026-01-01T00:00:00+05:00", "2026-02-10T11:30:00+05:00")), "verification of A-100200 not valid"),
        (str(span("2026-02-10T11:30:00+05:00", "2026-02-12T00:00:00+05:00")), "no seal recorded"),
        (str(span("2026-03-01T00:00:00+05:00", "2026-03-03T00:00:00+05:00")), "fault: phase L2 lost (act no. 9)"),
    ]
    before = passport.unfit(span("2025-02-01T00:00:00+05:00", "2025-03-02T00:00:00+05:00"))
    assert {why for _, why in before} == {"no meter installed", "no seal recorded"}


def test_all_faults_at_once(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        """
        [point]
        device = "Not A Key"
        zone = "Mars/Olympus"
        register = "tertiary"
        [[installation]]
        serial = "1"
        type = "t"
        approval = "a"
        installed = 2026-01-01
        act = "x"
        removed = 2026-03-01
        [[installation]]
        serial = "2"
        type = "t"
        approval = "a"
        act = "x"
        installed = 2026-02-01
        initial_wh = -5
        [[verification]]
        serial = "3"
        on = 2026-01-01T10:00:00
        expires = 2030-01-01
        certificate = "c"
        by = "b"
        """
    )
    with pytest.raises(ConfigError) as refused:
        load_passport(tmp_path / "p.toml")
    text = str(refused.value)
    for word in ("Not A Key", "Mars/Olympus", "tertiary", "removal_act", "two hold", "no registers", "initial_wh = -5",
                 "no meter '3'", "has no zone", "no ratio"):  # fmt: skip
        assert word in text, word
