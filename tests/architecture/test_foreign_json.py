# SPDX-License-Identifier: Apache-2.0
"""JSON from outside is read in `kernel.foreign_json` alone: no other module decodes what the hub did not write itself."""

import re

from tests.architecture.source import PACKAGES, ROOT

_LOADS = re.compile(r"\b(?:or)?json\.loads\(")

OWN = {
    "kernel/foreign_json.py": "the one place",
    "miner_control/dialect/reply.py": "whether a reply has ended: nothing of it is used",
    "telemetry/device/codec_json.py": "a field of this hub, on its way into a simulated answer",
    "telemetry/io/archive_parquet.py": "watermarks of the archive", "telemetry/io/archive_disk.py": "metadata of sealed files",
    "telemetry/io/archive_files.py": "tombstones", "telemetry/io/journal_schema.py": "rows of the journal",
    "telemetry/io/seal.py": "the answer of the hub's own process",
    "miner_control/control/auxiliary_load.py": "a field of a reading, made by a profile",
    "miner_control/control/readback.py": "a field of a reading, made by a dialect",
    "miner_control/health/third_party_control.py": "a field of a reading, made by a dialect",
    "miner_control/health/health.py": "a field of a reading, made by a dialect",
    "miner_control/learning/batch.py": "what was learnt, written by this hub",
    "treasury/verify.py": "signed reports, checked before they are believed",
    "hub/wiring/archive.py": "reports of this hub", "hub/app/replay.py": "a decision of this process",
    "hub/app/demo.py": "the twin's own file", "hub/api/access.py": "the file of keys", "hub/cli/ask.py": "a report of this hub",
    "hub/state/checkpoint.py": "the head of the checkpoint", "hub/reports/verify.py": "signed reports",
    "hub/reports/render.py": "a document of this process", "hub/reports/store.py": "reports of this hub",
    "hub/fleet/firmware_store.py": "the store of images",
}  # fmt: skip


def test_only_the_hub_s_own_json_is_decoded_elsewhere() -> None:
    found = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        if package not in ("twin", "tests", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        if _LOADS.search(path.read_text(encoding="utf-8"))
    }
    assert found - set(OWN) == set(), "read it by kernel.foreign_json"
    assert set(OWN) - found == set(), "these decode nothing any more: take them off the list"
