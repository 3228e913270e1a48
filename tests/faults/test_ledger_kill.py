# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a process that posts: what it was told is posted is there, once; the log is an intact prefix."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kernel.ids import business_id
from tests.servers import count
from treasury.account import Balance
from treasury.checks import check
from treasury.io.ledger_sqlite import open_ledger
from treasury.transfer import Transfer

ROOT = Path(__file__).resolve().parents[2]
T0 = 1_780_000_000_000

POSTER = """
import sys
from pathlib import Path
from kernel.ids import business_id
from kernel.money import Unit
from treasury.account import Account
from treasury.io.ledger_sqlite import open_ledger
from treasury.ledger import Posted
from treasury.transfer import Transfer

ledger = open_ledger(Path(sys.argv[1]))
ledger.open_accounts([Account("Assets:A", Unit.SAT), Account("Income:I", Unit.SAT)], {t0})
number = int(sys.argv[2])
while True:
    batch = [
        Transfer(business_id({t0}, "kill", number, line), "Assets:A", "Income:I", line + 1, Unit.SAT, "kill", {t0})
        for line in range(1 + number % 7)
    ]
    assert isinstance(ledger.post(batch, {t0} + number), Posted)
    print(number, flush=True)
    number += 1
"""


KILLS_OF_ONE_LEDGER = 50
"""All of it is read after each kill: a ledger of a thousand rounds would cost hours."""


@pytest.mark.timeout(count(300, 7200))
def test_what_was_acknowledged_outlives_any_kill(tmp_path: Path):
    script = tmp_path / "poster.py"
    script.write_text(POSTER.format(t0=T0))
    rng = np.random.default_rng(11)
    for round_ in range(count(8, 1000)):
        if round_ % KILLS_OF_ONE_LEDGER == 0:
            path, acknowledged = tmp_path / f"ledger-{round_}.sqlite", -1
        # Every other round begins again one batch back: a retry of what may or may not have been booked.
        begin = max(0, acknowledged + round_ % 2)
        process = subprocess.Popen(
            [sys.executable, str(script), str(path), str(begin)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stdout is not None
        first = "".join(process.stdout.readline() for _ in range(8))  # the moment counts from some acknowledged batches
        time.sleep(float(rng.uniform(0, 0.15)))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait(10)
        acknowledged = max(
            acknowledged, *(int(line) for line in (first + rest).splitlines(keepends=True) if line.endswith("\n"))
        )
        ledger = open_ledger(path)
        assert check(ledger) == []
        booked = [entry.body for entry in ledger.entries() if isinstance(entry.body, Transfer)]
        wanted = {business_id(T0, "kill", n, line) for n in range(acknowledged + 1) for line in range(1 + n % 7)}
        ids = [transfer.id for transfer in booked]
        assert len(ids) == len(set(ids)), "nothing is doubled"
        assert wanted <= set(ids), "nothing acknowledged is lost"
        beyond = set(ids) - wanted
        unsure = {business_id(T0, "kill", acknowledged + 1, line) for line in range(1 + (acknowledged + 1) % 7)}
        assert beyond in (set(), unsure), "of the batch under way all is there, or nothing"
        assert ledger.balances()["Assets:A"] == Balance(sum(transfer.amount for transfer in booked), 0)
        acknowledged += bool(beyond)
        ledger.close()
    assert acknowledged > 50
