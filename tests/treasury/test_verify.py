# SPDX-License-Identifier: Apache-2.0
"""The stand-alone verifier: alone in an empty folder with `python3 -I`, it agrees with the product and finds every change."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hub.reports.sign import report_key
from hub.reports.treasury_statement import table, treasury_statement
from hub.reports.write import ReportFiles, write_report
from kernel.money import Unit
from kernel.span import Span
from treasury import verify
from treasury.account import Account
from treasury.io.ledger_sqlite import open_ledger
from treasury.ledger import Posted
from treasury.listing import journal_rows
from treasury.transfer import Transfer, transfer_id

T0 = 1_780_000_000_000


def alone(folder: Path, *words: str) -> tuple[int, str]:
    shutil.copy(verify.__file__, folder / "verify.py")
    done = subprocess.run([sys.executable, "-I", "verify.py", *words], cwd=folder, capture_output=True, text=True, timeout=60,
                          check=False, env={})  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def books(tmp_path: Path) -> tuple[Path, ReportFiles]:
    ledger = open_ledger(tmp_path / "made" / "ledger.sqlite")
    ledger.open_accounts([Account("Assets:Wallet", Unit.SAT), Account("Income:Mining", Unit.SAT, note="é")], T0)
    for number in range(20):
        at_ms = T0 + number * 1000 + 7
        first = transfer_id(T0 + 7, 0) if number == 5 else None
        made = Transfer(transfer_id(at_ms, number), "Assets:Wallet", "Income:Mining", number + 1, Unit.SAT, "test", at_ms,
                        "ab" * 32, corrects=first, note="п 1")  # fmt: skip
        assert isinstance(ledger.post([made], at_ms), Posted)
    document = treasury_statement(ledger, Span(T0 + 5_000, T0 + 15_000), "hub-1")
    folder = tmp_path / "empty"
    folder.mkdir()
    written = write_report(document, folder, report_key(tmp_path / "keys"), table)
    shutil.copy(tmp_path / "keys" / "report.pub", folder)
    (folder / "journal.json").write_text(json.dumps({"transfers": list(journal_rows(ledger))}))
    ledger.close()
    return folder, written


def test_it_stands_alone_and_agrees(books: tuple[Path, ReportFiles]):
    folder, written = books
    assert alone(folder, "report", written.json.name, "--key", "report.pub")[0] == 0
    code, text = alone(folder, "journal", "journal.json", "--statement", written.json.name)
    assert code == 0, text
    assert "22 entries" in text
    assert alone(folder, "what")[0] == 2
    assert alone(folder, "journal", "none.json")[0] == 1


def test_it_imports_the_standard_library_alone():
    text = Path(verify.__file__).read_text()
    names = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert names <= set(sys.stdlib_module_names)


CHANGES = {
    "a changed amount": lambda rows: rows[5].update(amount=rows[5]["amount"] + 1),
    "a dropped entry": lambda rows: rows.pop(7),
    "a dropped end": lambda rows: rows.pop(),
    "two swapped": lambda rows: rows.insert(4, rows.pop(5)),
    "a moved day": lambda rows: rows[9].update(effective="2026-01-01T00:00:00.000Z"),
    "a changed recorded time": lambda rows: rows[9].update(recorded="2026-01-01T00:00:00.000Z"),
    "another account": lambda rows: rows[9].update(debit="Assets:Thief"),
    "a forged chain": lambda rows: rows[9].update(chain="00" * 32),
    "another evidence": lambda rows: rows[9].update(evidence="cd" * 32),
    "an added entry": lambda rows: rows.insert(9, rows[9]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_finds_every_change_of_a_journal(books: tuple[Path, ReportFiles], change: str):
    folder, written = books
    loaded = json.loads((folder / "journal.json").read_text())
    CHANGES[change](loaded["transfers"])
    (folder / "journal.json").write_text(json.dumps(loaded))
    code = verify.main(["journal", str(folder / "journal.json"), "--statement", str(written.json)])
    assert code == 1


def test_a_statement_that_differs_is_found(books: tuple[Path, ReportFiles], capsys: pytest.CaptureFixture[str]):
    folder, written = books
    document = json.loads(written.json.read_text())
    document["accounts"][0]["closing"] += 1
    written.json.write_text(json.dumps(document))
    assert verify.main(["journal", str(folder / "journal.json"), "--statement", str(written.json)]) == 1
    assert "the statement has" in capsys.readouterr().out
    assert verify.main(["report", str(written.json)]) == 1
    assert "was changed" in capsys.readouterr().out


def test_a_forged_signature_or_key_is_found(books: tuple[Path, ReportFiles], tmp_path: Path):
    folder, written = books
    other = report_key(tmp_path / "other")
    assert other.id
    assert verify.main(["report", str(written.sig), "--key", str(tmp_path / "other" / "report.pub")]) == 1
    signed = json.loads(written.sig.read_text())
    flipped = bytearray.fromhex(signed["signature"])
    flipped[3] ^= 1
    written.sig.write_text(json.dumps({**signed, "signature": flipped.hex()}))
    assert verify.main(["report", str(written.json), "--key", str(folder / "report.pub")]) == 1


def test_its_ed25519_agrees_with_the_library():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for number in range(12):
        private, message = Ed25519PrivateKey.generate(), bytes(range(number * 7))
        public, signature = private.public_key().public_bytes_raw(), private.sign(message)
        assert verify.ed25519_holds(public, signature, message)
        assert not verify.ed25519_holds(public, signature, message + b"x")
        assert not verify.ed25519_holds(public, signature[:32] + bytes(32), message)
    assert not verify.ed25519_holds(b"short", bytes(64), b"")


def test_rfc_8032_vectors():
    for secret_public, signature, message in (
        ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc6"
         "1e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
         ""),
        ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e"
         "458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
         "72"),
    ):  # fmt: skip
        assert verify.ed25519_holds(bytes.fromhex(secret_public), bytes.fromhex(signature), bytes.fromhex(message))
