# SPDX-License-Identifier: Apache-2.0
"""Golden days: a simulated hub gives the same bytes twice, and its journal replays to the same commands."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from hub.app.replay import replay_folder
from hub.app.simulate import simulate
from tests.servers import count

DAYS, MINERS = (0.05, 60) if count(1, 2) == 1 else (1.0, 1000)


pytestmark = pytest.mark.timeout(count(300, 1800))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("day")
    return folder, simulate(DAYS, 7, MINERS, folder)


def test_the_same_seed_gives_the_same_bytes_in_another_process(day: tuple[Path, dict[str, object]]) -> None:
    argv = ["simulate", "--days", str(DAYS), "--seed", "7", "--miners", str(MINERS), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from hub.cli import main; main()", *argv],
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo", "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.splitlines()[-1] == orjson.dumps(day[1], option=orjson.OPT_SERIALIZE_NUMPY)


def test_another_seed_gives_another_day(day: tuple[Path, dict[str, object]]) -> None:
    assert simulate(0.02, 8, 10) != simulate(0.02, 7, 10)


def test_the_day_was_lived(day: tuple[Path, dict[str, object]]) -> None:
    found = json.loads(orjson.dumps(day[1], option=orjson.OPT_SERIALIZE_NUMPY))
    assert found["order"]["verdict"] == "complied"
    assert found["commands"]["issued"] > 0 and found["commands"]["verified"] > 0
    assert abs(found["energy_check"]["difference_pct"]) < 2.0
    assert found["meters"]["coverage"] > 0.99
    assert found["miners"]["faulty"] >= 1
    counted = found["miners"]["hashing"] + found["miners"]["asleep"] + found["miners"]["faulty"]
    assert counted == found["miners"]["configured"] == MINERS


def test_replay_gives_every_command_again(day: tuple[Path, dict[str, object]]) -> None:
    found = replay_folder(day[0])
    assert found.difference is None and found.ticks > 10
    with sqlite3.connect(day[0] / "data" / "journal.sqlite") as file:
        bodies = [json.loads(body) for (body,) in file.execute("SELECT body FROM event WHERE kind = 'command.issued'")]
    # Wakes are repeated by a duty of its own; the tick of the last instant is journalled after the day's figures.
    assert found.commands == sum(not body["reason"].startswith("did not come back") for body in bodies)
    assert found.commands > 0 and len(bodies) >= day[1]["commands"]["issued"]  # type: ignore[index]


def test_replay_names_the_first_difference(day: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(day[0], copy)
    with sqlite3.connect(copy / "data" / "journal.sqlite") as file:
        rows = file.execute("SELECT position, body FROM event WHERE kind = 'tick.decided' ORDER BY position").fetchall()
        position, raw = rows[len(rows) // 2]
        body = orjson.loads(raw)
        body["target_w"] += 1.0
        file.execute("DROP TRIGGER event_stays")
        file.execute("UPDATE event SET body = ? WHERE position = ?", (orjson.dumps(body), position))
    found = replay_folder(copy)
    assert found.difference is not None
    assert (found.difference.position, found.difference.key) == (position, "target_w")
    assert "differs in target_w" in found.text()
