# SPDX-License-Identifier: Apache-2.0
"""Retention of archive files: periods, legal holds, and tombstones of deleted files.

- A file is deleted when the period of its layer has ended and no hold covers it. A legal hold keeps every file of its span
  while it exists; each report, transfer or dispute that cites readings sets one.
- Of each deleted file its SHA-256, the rule and its Merkle path remain (RFC 6962 hashing, over all files of that layer, kind
  and day), so that a copy found later can be proven to be the original.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from kernel.clock import MS_PER_HOUR, from_iso
from kernel.span import Span
from kernel.units import MS_PER_DAY

FOREVER = None

DEFAULT_DAYS: Mapping[tuple[str, str], float | None] = {
    ("raw", "miner"): 62.0,
    ("raw", "container"): 400.0,
    ("raw", "sensor"): 400.0,
    ("raw", "switch"): 400.0,
    ("raw", "meter"): FOREVER,
    ("1m", "miner"): 400.0,
    ("1m", "container"): 400.0,
    ("1m", "sensor"): 400.0,
    ("1m", "switch"): 400.0,
}
"""Days for which a layer of a kind is kept; anything not listed is kept for ever."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Legal hold on readings of a span: cited by what, and why. `kinds` empty: all kinds."""

    span: Span
    cited_by: str
    why: str
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Record of a deleted file. `merkle_path` leads from its leaf to `merkle_root`: (side of the sibling, hash)."""

    path: str
    sha256: str
    rule: str
    deleted_ms: int
    merkle_root: str
    merkle_path: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path, "sha256": self.sha256, "rule": self.rule, "deleted_ms": self.deleted_ms,
            "merkle_root": self.merkle_root, "merkle_path": [list(step) for step in self.merkle_path],
        }  # fmt: skip


def tombstone_of(body: Mapping[str, Any]) -> Tombstone:
    """The inverse of `Tombstone.to_json`."""
    path = tuple((str(side), str(sibling)) for side, sibling in body["merkle_path"])
    return Tombstone(body["path"], body["sha256"], body["rule"], int(body["deleted_ms"]), body["merkle_root"], path)


def file_span(path: str) -> tuple[str, str, Span]:
    """(layer, kind, hour or day) of an archive file by its path. ValueError where the path is none."""
    layer, kind, day, name = PurePosixPath(path).parts
    if name == "day.parquet":
        day_ms = from_iso(f"{day}T00:00:00Z")
        return layer, kind, Span(day_ms, day_ms + MS_PER_DAY)
    start_ms = from_iso(f"{day}T{name.removesuffix('.parquet')}:00:00Z")
    return layer, kind, Span(start_ms, start_ms + MS_PER_HOUR)


def expired(
    paths: Iterable[str],
    now_ms: int,
    holds: Sequence[Hold],
    days: Mapping[tuple[str, str], float | None] = DEFAULT_DAYS,
) -> list[tuple[str, str]]:
    """(path, rule) of files that may be deleted now, in order. A day is deleted as a whole, unless a part is held."""
    found = []
    for path in sorted(paths):
        layer, kind, span = file_span(path)
        kept_days = days.get((layer, kind))
        if kept_days is None:
            continue
        day_end_ms = span.start_ms - span.start_ms % MS_PER_DAY + MS_PER_DAY
        if now_ms - day_end_ms < kept_days * MS_PER_DAY:
            continue
        if any(hold.span.overlap(span) and (not hold.kinds or kind in hold.kinds) for hold in holds):
            continue
        found.append((path, f"{layer} of {kind}: {kept_days:g} days"))
    return found


def tombstones(day: Sequence[tuple[str, str]], going: Mapping[str, str], deleted_ms: int) -> list[Tombstone]:
    """Tombstones of files of one day that are to be deleted.

    `day`: (path, sha256) of all files of that layer, kind and day, including those deleted before; `going`: path to rule.
    """
    ordered = sorted(day)
    leaves = [_leaf(path, sha256) for path, sha256 in ordered]
    root = merkle_root(leaves).hex()
    return [
        Tombstone(path, sha256, going[path], deleted_ms, root, tuple(merkle_path(leaves, at)))
        for at, (path, sha256) in enumerate(ordered)
        if path in going
    ]


def proves(tombstone: Tombstone) -> bool:
    """Whether the Merkle path of a tombstone leads from its file to its root."""
    at = _leaf(tombstone.path, tombstone.sha256)
    for side, sibling in tombstone.merkle_path:
        other = bytes.fromhex(sibling)
        at = _node(other, at) if side == "left" else _node(at, other)
    return at.hex() == tombstone.merkle_root


def _leaf(path: str, sha256: str) -> bytes:
    return hashlib.sha256(b"\x00" + f"{path}\n{sha256}".encode()).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Merkle tree head of RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return _node(merkle_root(leaves[:split]), merkle_root(leaves[split:]))


def merkle_path(leaves: Sequence[bytes], at: int) -> list[tuple[str, str]]:
    """Siblings from a leaf to the root, each with its side."""
    if len(leaves) <= 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if at < split:
        return [*merkle_path(leaves[:split], at), ("right", merkle_root(leaves[split:]).hex())]
    return [*merkle_path(leaves[split:], at - split), ("left", merkle_root(leaves[:split]).hex())]
