# SPDX-License-Identifier: Apache-2.0
"""Who may see and do what: keys, roles, one-time links, sessions. Denied unless a role says otherwise; no default password.

A key is 256 random bits, shown once; only its HMAC-SHA256 under the hub's pepper is kept (`access.json`, mode 600, next to
the pepper). A person on the hub's own machine enters by a one-time link printed on the terminal.
"""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from grid.limit import Priority
from grid.order_book import Authority
from kernel.actor import Actor, Channel
from kernel.clock import MS_PER_S, Clock
from kernel.errors import ConfigError, Fault
from kernel.units import S_PER_DAY

log = logging.getLogger(__name__)

EVERY_SITE = "*"
ENTRY_HEADER = "Mining-Hub-Entry"
"""Request header: `command line`, or `telephone` where a person enters what was ordered by telephone."""
KEY_PREFIX = "mh"
LINK_S = 30 * 60.0
IDLE_S = 12 * 3600.0


class Role(StrEnum):
    """Who somebody is to the hub."""

    OPERATOR = "operator"
    DISPATCHER = "dispatcher"
    REGULATOR = "regulator"
    TREASURY = "treasury"
    ADMIN = "admin"


GRANTS: Mapping[Role, frozenset[str]] = {
    Role.OPERATOR: frozenset(
        {
            "site:read", "fleet:read", "plan:read", "order:read", "order:send", "order:end",
            "availability:read", "log:read", "report:read", "alarm:read", "alarm:answer", "archive:read", "miner:release",
            "miner:place", "miner:prove", "job:read", "job:run", "job:approve",
        }
    ),
    Role.DISPATCHER: frozenset({"site:read", "order:read", "order:send", "order:end", "availability:read"}),
    Role.REGULATOR: frozenset(
        {"site:read", "order:read", "report:read", "report:pull", "log:read", "archive:read", "archive:hold"}
    ),
    Role.TREASURY: frozenset(
        {"site:read", "plan:read", "ledger:read", "report:read", "report:pull", "archive:read", "archive:hold"}
    ),
    Role.ADMIN: frozenset(
        {
            "site:read", "fleet:read", "plan:read", "order:read", "order:send", "order:end", "availability:read",
            "log:read", "ledger:read", "report:read", "report:pull", "alarm:read", "alarm:answer", "miner:release",
            "miner:place", "miner:prove", "archive:read", "archive:hold", "archive:release",
            "job:read", "job:run", "job:approve",
        }
    ),
}  # fmt: skip
"""resource:action by role. What stands nowhere is denied to all."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated person or program. `sites` are short names, or `*`. `way` is key or session."""

    who: str
    role: Role
    sites: tuple[str, ...]
    way: str
    entry: Channel

    @property
    def actor(self) -> Actor:
        """The author of what it does, as events record it."""
        return Actor(self.who, str(self.role), self.entry)

    def may(self, permission: str, site: str | None = None) -> bool:
        return permission in GRANTS[self.role] and (site is None or self.covers(site))

    def covers(self, site: str) -> bool:
        return EVERY_SITE in self.sites or site in self.sites

    def authority(self, site_key: str) -> Authority:
        """In whose name its orders for a site are given."""
        priority = Priority.DISPATCHER if self.role is Role.DISPATCHER else Priority.OPERATOR
        return Authority(self.who, (site_key,), priority)


def dispatcher(by: Authority, entry: Channel) -> Actor:
    """The author of an order that came over a dispatcher's own line (MQTT, IEC 104)."""
    return Actor(by.who, str(Role.DISPATCHER), entry)


DECLARED: Mapping[str, tuple[Channel, ...]] = {
    "key": (Channel.COMMAND_LINE, Channel.TELEPHONE),
    "session": (Channel.TELEPHONE,),
}
"""Entries that a request may declare; undeclared, a key's is REST and a session's the page."""


def declared(by: Principal, entry: str | None) -> Principal:
    """The same with the entry that its request declares. Raises ConfigError for one that it cannot be."""
    if entry is None:
        return by
    known = DECLARED[by.way]
    if entry not in known:
        problem = f"{entry[:40]!r} is no entry of a {by.way}"
        raise ConfigError([Fault(ENTRY_HEADER, problem, f"Use {', '.join(known)}, or leave the header out")])
    return replace(by, entry=Channel(entry))


@dataclass(frozen=True, slots=True)
class Key:
    """One API key as it is kept. `digest` is HMAC-SHA256(pepper, secret) in hex."""

    id: str
    who: str
    role: Role
    sites: tuple[str, ...]
    digest: str
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None


class Throttle:
    """At most `most` of something in `window_s`, per name. Names are forgotten when their window is empty."""

    def __init__(self, most: int, window_s: float, clock: Clock) -> None:
        self._most, self._window_s, self._clock = most, window_s, clock
        self._seen: dict[str, deque[float]] = {}

    def full(self, name: str) -> bool:
        return len(self._recent(name)) >= self._most

    def count(self, name: str) -> None:
        if len(self._seen) > 10_000:
            for other in list(self._seen):
                self._recent(other)
        self._seen.setdefault(name, deque(maxlen=self._most)).append(self._clock.monotonic_s())

    def _recent(self, name: str) -> deque[float]:
        seen = self._seen.get(name, deque())
        while seen and seen[0] < self._clock.monotonic_s() - self._window_s:
            seen.popleft()
        if not seen:
            self._seen.pop(name, None)
        return seen


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link that waits for its use."""

    digest: str
    who: str
    role: Role
    sites: tuple[str, ...]
    until_ms: int


@dataclass(slots=True)
class Kept:
    """What `access.json` holds."""

    keys: dict[str, Key]
    links: dict[str, Link]


class Access:
    """Keys and links in `folder`, shared with the command line of the same machine: a key that is made or revoked there
    holds at once in the running hub. Sessions end with the process.
    """

    def __init__(self, folder: Path, clock: Clock, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._file, self._clock, self._random = folder / "access.json", clock, random_bytes
        self._pepper = _pepper(folder / "access.pepper", random_bytes)
        self._seen = _mark(self._file)
        self._kept = _load(self._file)
        self._sessions: dict[str, tuple[Principal, float]] = {}

    # ---- keys ----

    def keys(self) -> list[Key]:
        return sorted(self._fresh().keys.values(), key=lambda key: key.created_ms)

    def add_key(self, who: str, role: Role, sites: Iterable[str], days: float | None = 365.0) -> str:
        """A new key; its text is returned once and never again. Raises ConfigError for a name or site that is none."""
        sites = tuple(sites)
        if not who or len(who) > 64 or not all(char.isalnum() or char in "._-@" for char in who):
            raise ConfigError([Fault("who", f"{who!r} is no name", "Use 1 to 64 letters, digits, . _ - @")])
        if not sites:
            raise ConfigError([Fault("sites", "none given", "Name the sites it is for, or *")])
        now_ms = self._clock.now_ms()
        secret = base64.urlsafe_b64encode(self._random(32)).decode().rstrip("=")
        key_id = self._random(4).hex()
        expires_ms = None if days is None else now_ms + round(days * S_PER_DAY * MS_PER_S)
        with self._changing() as kept:
            kept.keys[key_id] = Key(key_id, who, role, sites, self._digest(secret), now_ms, expires_ms)
        return f"{KEY_PREFIX}_{key_id}_{secret}"

    def revoke(self, key_id: str) -> bool:
        """Whether there was such a key; it is kept, as a fact, and opens nothing any more."""
        with self._changing() as kept:
            found = kept.keys.get(key_id)
            if found is not None:
                kept.keys[key_id] = replace(found, revoked_ms=self._clock.now_ms())
        return found is not None

    def by_key(self, text: str) -> Principal | None:
        """Whose key this is, or None. Takes the same time whether the secret is nearly right or wholly wrong."""
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._fresh().keys.get(key_id)
        fits = hmac.compare_digest(self._digest(secret), key.digest if key else "0" * 64)
        if prefix != KEY_PREFIX or key is None or not fits or key.revoked_ms is not None:
            return None
        if key.expires_ms is not None and self._clock.now_ms() >= key.expires_ms:
            return None
        return Principal(key.who, key.role, key.sites, "key", Channel.REST)

    # ---- one-time links and sessions ----

    def link(self, who: str = "console", role: Role = Role.ADMIN, sites: Iterable[str] = (EVERY_SITE,)) -> str:
        """A token that opens one session within half an hour."""
        token = base64.urlsafe_b64encode(self._random(32)).decode().rstrip("=")
        digest, now_ms = self._digest(token), self._clock.now_ms()
        with self._changing() as kept:
            kept.links = {name: link for name, link in kept.links.items() if link.until_ms > now_ms}
            kept.links[digest] = Link(digest, who, role, tuple(sites), now_ms + round(LINK_S * MS_PER_S))
        return token

    def enter(self, token: str) -> str | None:
        """The session that a link opens, once; None for a token that is used, old or wrong."""
        digest = self._digest(token)
        if digest not in self._fresh().links:
            return None
        with self._changing() as kept:
            link = kept.links.pop(digest, None)
        if link is None or self._clock.now_ms() > link.until_ms:
            return None
        session = base64.urlsafe_b64encode(self._random(32)).decode().rstrip("=")
        principal = Principal(link.who, link.role, link.sites, "session", Channel.PAGE)
        self._sessions[self._digest(session)] = (principal, self._clock.monotonic_s() + IDLE_S)
        return session

    def by_session(self, session: str) -> Principal | None:
        """Whose session this is; each use keeps it for another while."""
        digest, now_s = self._digest(session), self._clock.monotonic_s()
        principal, until_s = self._sessions.get(digest, (None, 0.0))
        if principal is None or now_s > until_s:
            self._sessions.pop(digest, None)
            return None
        self._sessions[digest] = (principal, now_s + IDLE_S)
        return principal

    def leave(self, session: str) -> None:
        self._sessions.pop(self._digest(session), None)

    def _digest(self, secret: str) -> str:
        return hmac.new(self._pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    # ---- the file ----

    def _fresh(self) -> Kept:
        """What the file holds now: read again when another process has changed it."""
        mark = _mark(self._file)
        if mark != self._seen:
            self._seen = mark
            try:
                self._kept = _load(self._file)
            except ConfigError as error:  # what was known goes on: a broken file must not shut everybody out
                log.error("%s", error)
        return self._kept

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Kept]:
        """Read, change and write as one step, alone among all processes."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with (self._file.parent / "access.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = _load(self._file)
            yield kept
            body = {
                "version": 1,
                "keys": [asdict(key) for key in kept.keys.values()],
                "links": [asdict(link) for link in kept.links.values()],
            }
            _write(self._file, (json.dumps(body, indent=1) + "\n").encode())
            self._kept, self._seen = kept, _mark(self._file)


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What tells one version of a file from another."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _pepper(path: Path, random_bytes: Callable[[int], bytes]) -> bytes:
    if path.exists():
        return path.read_bytes()
    pepper = random_bytes(32)
    _write(path, pepper)
    return pepper


def _load(path: Path) -> Kept:
    if not path.exists():
        return Kept({}, {})
    try:
        body = json.loads(path.read_text())
        keys = [Key(**_typed(row)) for row in body["keys"]]
        links = [Link(**_typed(row)) for row in body.get("links", ())]
    except (ValueError, KeyError, TypeError) as error:
        fault = Fault(str(path), f"cannot be read: {error}", "Restore it from a backup, or remove it and make new keys")
        raise ConfigError([fault]) from None
    return Kept({key.id: key for key in keys}, {link.digest: link for link in links})


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "role": Role(row["role"]), "sites": tuple(row["sites"])}


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by the hub alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
