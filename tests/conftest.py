# SPDX-License-Identifier: Apache-2.0
"""How the tests are spread over workers: what lives through a site in real time goes first, and one by one.

Whole files stay together, since many share one twin; the last minutes then hold short files only, and no worker is left
alone with a long one.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hub.journal.recorder import Recorder
from kernel.event import Event, EventKind
from tests.builders.event_payloads import faults

PRODUCT = tuple(f"{Path(__file__).parents[1] / name}/" for name in ("hub", "telemetry", "grid", "miner_control"))
IN_REAL_TIME = (
    "hub/fleet/test_jobs.py",
    "faults/test_world.py",
    "hub/fleet/test_wake_recovery.py",
    "hub/control/test_cold_start.py",
    "hub/fleet/test_firmware_job.py",
    "hub/control/test_auxiliary_loads.py",
    "hub/fleet/test_feeder_mapping.py",
    "faults/test_hub_kill.py",
    "hub/control/test_interlock.py",
    "hub/fleet/test_placement.py",
)
"""Files each of whose tests has a site of its own, the longest first: their tests go to whoever is free."""
LONG = (
    "hub/app/test_demo.py",
    "wires/test_twin_faults.py",
    "hub/console/test_page.py",
    "wires/test_commands_on_the_twin.py",
    "wires/test_firmware_on_the_twin.py",
    "wires/test_peer_defects.py",
    "telemetry/io/test_archive_days.py",
    "hub/fleet/test_model_learning.py",
    "twin/test_sockets.py",
    "wires/test_twin_dialects.py",
)
"""Files of more than some 15 s, the longest first."""


def _place(nodeid: str, files: tuple[str, ...]) -> int:
    path = nodeid.partition("::")[0]
    return next((at for at, file in enumerate(files) if path.endswith(file)), len(files))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.nodeid, LONG[:1] + IN_REAL_TIME + LONG[1:]))


def _by_the_product() -> bool:
    """Whether the product emits the event: a test that emits one itself may cut its payload short."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.endswith("hub/journal/recorder.py"):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(PRODUCT)


@pytest.fixture(autouse=True)
def emitted_payloads_are_those_of_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event that the product emits under test has the fields, and their types, of its row in the table of events."""
    emit = Recorder.emit

    def checked(self: Recorder, site: str, kind: EventKind, body: Mapping[str, Any], version: int = 1) -> Event:
        event = emit(self, site, kind, body, version)
        assert not _by_the_product() or not faults(event.kind, body)
        return event

    monkeypatch.setattr(Recorder, "emit", checked)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        """A file, or one test where a file says so, is what a worker takes next."""

        def _split_scope(self, nodeid: str) -> str:
            return nodeid if _place(nodeid, IN_REAL_TIME) < len(IN_REAL_TIME) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)
