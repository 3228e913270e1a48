# SPDX-License-Identifier: Apache-2.0
"""The reference page of profiles is made from the profiles, and is current; enough of them are checked."""

from pathlib import Path

from telemetry.profile import Checked, catalogue
from telemetry.profile_page import current

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    told = (ROOT / "docs" / "reference" / "profiles.md").read_text(encoding="utf-8")
    assert told == current(ROOT / "configs" / "profiles"), (
        "run: python -m telemetry.profile_page > docs/reference/profiles.md"
    )


def test_at_least_thirty_profiles_were_checked_against_something() -> None:
    profiles = catalogue(ROOT / "configs" / "profiles").values()
    checked = [profile.name for profile in profiles if profile.check.status is not Checked.UNVERIFIED]
    wholly = [profile.name for profile in profiles if profile.name in checked and not profile.check.unverified]
    assert len(checked) >= 30 and len(wholly) >= 30
