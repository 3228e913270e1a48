# SPDX-License-Identifier: Apache-2.0
"""The reference page of profiles is made from the profiles, and is current; enough of them are checked."""

from pathlib import Path

from telemetry.device.codec import decode
from telemetry.device.frames import frame_registers
from telemetry.device.profile import Checked, catalogue, load
from telemetry.device.profile_page import current

ROOT = Path(__file__).parents[3]


def test_the_page_is_current() -> None:
    reported = (ROOT / "docs" / "reference" / "profiles.md").read_text(encoding="utf-8")
    assert reported == current(ROOT / "configs" / "profiles"), (
        "run: python -m telemetry.device.profile_page > docs/reference/profiles.md"
    )


def test_at_least_thirty_profiles_were_checked_against_something() -> None:
    profiles = catalogue(ROOT / "configs" / "profiles").values()
    checked = [profile.name for profile in profiles if profile.check.status is not Checked.UNVERIFIED]
    wholly = [profile.name for profile in profiles if profile.name in checked and not profile.check.unverified]
    assert len(checked) >= 30 and len(wholly) >= 30


def test_the_example_of_the_page_on_adding_a_device_is_a_profile(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "add-a-device.md").read_text(encoding="utf-8")
    file = tmp_path / "acme_pm1.toml"
    file.write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    profile = load(file)
    (frame,) = profile.check.frames
    found = decode(profile, frame_registers(frame.raw["registers"]), 0)
    assert {metric: found[metric] for metric in frame.expect} == frame.expect
