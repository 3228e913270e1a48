# SPDX-License-Identifier: Apache-2.0
"""Recorded answers of real miners, where they stand beside the checkout. Their absence is said loudly, once per test."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(os.environ.get("MINING_HUB_SHARED", Path(__file__).resolve().parents[4] / "shared")) / "recordings"


def folder(name: str, *leave_out: str) -> dict[str, Any]:
    """The answers of one firmware by command."""
    place = ROOT / name
    if not place.is_dir():
        pytest.skip(f"NO RECORDINGS at {place}: set MINING_HUB_SHARED; the hand-written shapes are tested all the same")
    return {
        path.stem: json.loads(path.read_text()) for path in sorted(place.glob("*.json")) if path.stem not in leave_out
    }


def folders() -> list[str]:
    """The firmware folders that are present."""
    if not ROOT.is_dir():
        return []
    return sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "schemas")
