# SPDX-License-Identifier: Apache-2.0
"""Stand-alone verifier of reports and ledger journals: one file, only Python's standard library.

It uses nothing of the product and can be copied anywhere.

    python3 -I verify.py report FILE [--key report.pub]      a report's signature and the bytes of its files
    python3 -I verify.py journal FILE [--statement FILE]     a ledger's journal (mining-hub ledger journal --json): every hash,
                                                             every sum, and that a statement agrees with the journal

Prints `valid`, or `invalid` with the reason; exit code 0 or 1. Without --key only the bytes are verified, not the signer.
"""

import base64
import hashlib
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

# --- Ed25519 (RFC 8032), verification only, written for clarity ---------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]


def _add(a: Point, b: Point) -> Point:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    w, x, y, z = f - e, h - g, h + g, f + e
    return w * x % P, y * z % P, x * y % P, w * z % P


def _times(factor: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            result = _add(result, point)
        point, factor = _add(point, point), factor >> 1
    return result


def _point(raw: bytes) -> Point:
    number = int.from_bytes(raw, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    if y >= P:
        raise ValueError("not a point")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        raise ValueError("not a point")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = _point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def ed25519_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature over the message was made with that key."""
    if len(public) != 32 or len(signature) != 64:
        return False
    try:
        a, r = _point(public), _point(signature[:32])
    except ValueError:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    left, right = _times(s, BASE), _add(r, _times(k, a))
    return not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)


# --- reports ------------------------------------------------------------------------------------------------------------


class Invalid(Exception):
    """Reason why the input is invalid."""


def canonical(value: Any) -> bytes:
    """Canonical JSON for texts and ASCII keys, as in a signature's manifest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def public_key(path: Path) -> bytes:
    """The 32 bytes of an Ed25519 public key in PEM."""
    body = "".join(line for line in path.read_text().splitlines() if line and not line.startswith("-----"))
    raw = base64.b64decode(body)
    if len(raw) != 44 or raw[:12] != bytes.fromhex("302a300506032b6570032100"):
        raise Invalid(f"{path} is no Ed25519 public key")
    return raw[12:]


def check_report(path: Path, key: Path | None) -> str:
    """Signature, key and file hashes of a report, given any of its files."""
    stem = path.with_suffix("")
    signed = json.loads(stem.with_suffix(".sig").read_text())
    public, files = bytes.fromhex(signed["public_key"]), signed["files"]
    if signed["alg"] != "Ed25519" or hashlib.sha256(public).hexdigest()[:16] != signed["key_id"]:
        raise Invalid("the key id does not belong to the public key that is given")
    if key is not None and public_key(key) != public:
        raise Invalid("signed by another key than the one given")
    manifest = canonical({"alg": "Ed25519", "files": files, "key_id": signed["key_id"]})
    if not ed25519_holds(public, bytes.fromhex(signed["signature"]), manifest):
        raise Invalid("the signature is wrong")
    if f"{stem.name}.json" not in files:
        raise Invalid("the signature does not name the report's JSON")
    for name, digest in files.items():
        if Path(name).name != name or hashlib.sha256((stem.parent / name).read_bytes()).hexdigest() != digest:
            raise Invalid(f"{name} was changed after it was signed")
    whose = f"by the given key, {signed['key_id']}" if key else f"by a key that names itself {signed['key_id']}"
    return f"{', '.join(sorted(files))} as signed {whose}"


# --- the ledger ---------------------------------------------------------------------------------------------------------


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def leaf_of(row: dict[str, Any]) -> bytes:
    """The RFC 9162 leaf hash of one journal row."""
    seq, recorded = str(row["seq"]), str(_ms(row["recorded"]))
    if row["entry"] == "account":
        fields = ["mining-hub.account.1", seq, recorded, row["account"], row["unit"], row["keeps"], row["note"]]
    else:
        fields = ["mining-hub.transfer.1", seq, recorded, row["id"], row["debit"], row["credit"], str(row["amount"]), row["unit"],
                  row["kind"], str(_ms(row["effective"])), row["evidence"] or "", row["link"] or "", row["corrects"] or "",
                  row["note"]]  # fmt: skip
    return hashlib.sha256(b"\x00" + "\x1f".join(fields).encode()).digest()


def check_journal(path: Path, statement: Path | None) -> str:
    """Check positions, leaves, chain, units and ids; and all figures of a statement against the sums."""
    loaded = json.loads(path.read_text())
    rows = loaded if isinstance(loaded, list) else next(value for value in loaded.values() if isinstance(value, list))
    stated = json.loads(statement.read_text()) if statement else None
    chain, units, seen = hashlib.sha256(b"mining-hub.ledger.1").digest(), dict[str, str](), set[str]()
    opening, debits, credits = dict[str, int](), dict[str, int](), dict[str, int]()
    for place, row in enumerate(rows, start=1):
        if row["seq"] != place:
            raise Invalid(f"entry {place} is missing or out of order (found {row['seq']})")
        leaf = leaf_of(row)
        chain = hashlib.sha256(chain + leaf).digest()
        if (leaf.hex(), chain.hex()) != (row["leaf"], row["chain"]):
            raise Invalid(f"entry {place} does not match its hash")
        if row["entry"] == "account":
            units[row["account"]] = row["unit"]
        else:
            _check_transfer(row, units, seen)
            if stated is None or place <= stated["head"]["size"]:
                _fold(row, stated, opening, debits, credits)
        if stated is not None and place == stated["head"]["size"] and chain.hex() != stated["head"]["chain"]:
            raise Invalid("the statement's head is of another ledger")
    if stated is not None:
        _check_statement(stated, len(rows), units, opening, debits, credits)
    return f"{len(rows)} entries, chain {chain.hex()}" + (f"; {statement.name} agrees with them" if statement else "")


def _check_transfer(row: dict[str, Any], units: dict[str, str], seen: set[str]) -> None:
    if row["id"] in seen:
        raise Invalid(f"entry {row['seq']}: id {row['id']} is booked twice")
    seen.add(row["id"])
    if type(row["amount"]) is not int or row["amount"] <= 0:
        raise Invalid(f"entry {row['seq']}: amount {row['amount']!r} is no positive whole number")
    for side in ("debit", "credit"):
        if units.get(row[side]) != row["unit"]:
            raise Invalid(f"entry {row['seq']}: {row[side]} is not an open account in {row['unit']}")


def _fold(
    row: dict[str, Any], stated: Any, opening: dict[str, int], debits: dict[str, int], credits: dict[str, int]
) -> None:
    at_ms, amount = _ms(row["effective"]), row["amount"]
    if stated is not None and at_ms >= stated["period"]["end_ms"]:
        return
    if stated is not None and at_ms < stated["period"]["start_ms"]:
        opening[row["debit"]] = opening.get(row["debit"], 0) + amount
        opening[row["credit"]] = opening.get(row["credit"], 0) - amount
        return
    debits[row["debit"]] = debits.get(row["debit"], 0) + amount
    credits[row["credit"]] = credits.get(row["credit"], 0) + amount


def _check_statement(
    stated: Any,
    size: int,
    units: dict[str, str],
    opening: dict[str, int],
    debits: dict[str, int],
    credits: dict[str, int],
) -> None:
    if stated["head"]["size"] > size:
        raise Invalid(f"the statement rests on {stated['head']['size']} entries, the journal has {size}")
    lines = {line["account"]: line for line in stated["accounts"]}
    for account in sorted({*lines, *opening, *debits, *credits}):
        first, debit, credit = opening.get(account, 0), debits.get(account, 0), credits.get(account, 0)
        wanted = {"account": account, "unit": units.get(account), "opening": first, "debits": debit, "credits": credit,
                  "closing": first + debit - credit}  # fmt: skip
        if lines.get(account) != wanted:
            raise Invalid(f"{account}: the statement has {lines.get(account)}, the journal gives {wanted}")


def main(arguments: list[str]) -> int:
    options = {
        name: arguments[index + 1] for index, name in enumerate(arguments[:-1]) if name in ("--key", "--statement")
    }
    plain = [one for one in arguments if one not in options and one not in options.values()]
    if len(plain) != 2 or plain[0] not in ("report", "journal"):
        print(__doc__)
        return 2
    path, extra = Path(plain[1]), {name: Path(value) for name, value in options.items()}
    try:
        if plain[0] == "report":
            reason = check_report(path, extra.get("--key"))
        else:
            reason = check_journal(path, extra.get("--statement"))
    except Invalid as error:
        print(f"invalid: {error}")
        return 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        print(f"invalid: cannot be read ({type(error).__name__}: {error})")
        return 1
    print(f"valid: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
