# SPDX-License-Identifier: Apache-2.0
"""Whether a report is what the hub signed: signature, key, each file's hash, canonical form, and CSV against JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import rfc8785

from hub.reports.kind import ReportKind
from hub.reports.render import as_csv, as_json
from hub.reports.sign import ALGORITHM, key_id, public_key_of, signature_holds
from kernel.errors import ConfigError
from kernel.ids import sha256_hex


@dataclass(frozen=True, slots=True)
class Verdict:
    """`trusted` says whether the key was held against one that the reader brought; without one only the bytes are proven."""

    signature: Literal["valid", "invalid"]
    reason: str
    key_id: str = ""
    trusted: bool = False
    files: tuple[str, ...] = ()


def verify_report(path: Path, kinds: Mapping[str, ReportKind], public_key: Path | None = None) -> Verdict:
    """Judge a report by any one of its files (.json, .csv, .sig). Never raises on the report's own content.

    `kinds` are those whose table is known.
    `public_key` is the hub's report.pub as the reader got it. Raises ConfigError where that is no key.
    """
    brought = public_key_of(public_key) if public_key is not None else None
    stem = path.with_suffix("")
    try:
        signed = json.loads(stem.with_suffix(".sig").read_bytes())
        files = {str(name): str(digest) for name, digest in signed["files"].items()}
        public, signature = bytes.fromhex(signed["public_key"]), bytes.fromhex(signed["signature"])
        named, algorithm = str(signed["key_id"]), signed["alg"]
    except OSError:
        return Verdict("invalid", f"no signature file {stem.name}.sig next to it")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Verdict("invalid", f"{stem.name}.sig is not a signature file of this kind")
    if algorithm != ALGORITHM or key_id(public) != named:
        return Verdict("invalid", "the key id does not belong to the public key that is given", named)
    if brought is not None and brought != public:
        return Verdict("invalid", f"signed by another key, {named}, than the one brought ({key_id(brought)})", named)
    body = rfc8785.dumps({"alg": ALGORITHM, "files": files, "key_id": named})
    if not signature_holds(public, signature, body):
        return Verdict("invalid", "the signature does not hold: the manifest was changed", named)
    problem = _files_problem(stem, files, kinds)
    if problem:
        return Verdict("invalid", problem, named, brought is not None)
    reason = f"all of {', '.join(sorted(files))} as signed"
    return Verdict("valid", reason, named, brought is not None, tuple(sorted(files)))


def _files_problem(stem: Path, files: Mapping[str, str], kinds: Mapping[str, ReportKind]) -> str | None:
    for form in (".json", ".csv"):
        if f"{stem.name}{form}" not in files:
            return f"the signature does not name {stem.name}{form}"
    for name, digest in sorted(files.items()):
        if Path(name).name != name:
            return f"the signature names {name!r}, which is no plain file name"
        try:
            content = (stem.parent / name).read_bytes()
        except OSError:
            return f"{name} is missing"
        if sha256_hex(content) != digest:
            return f"{name} was changed after it was signed"
    raw = (stem.parent / f"{stem.name}.json").read_bytes()
    return _form_problem(raw, (stem.parent / f"{stem.name}.csv").read_bytes(), kinds)


def _form_problem(raw: bytes, table: bytes, kinds: Mapping[str, ReportKind]) -> str | None:
    try:
        document: dict[str, Any] = json.loads(raw)
        if as_json(document) != raw:
            return "the JSON is not canonical"
        if as_csv(document, kinds[str(document["report"])].table) != table:
            return "the CSV is not what the JSON says"
    except (ValueError, KeyError, TypeError, ConfigError):
        return "the JSON is not a report of a known kind"
    return None
