# SPDX-License-Identifier: Apache-2.0
"""Every route as every role, from the application itself; keys, links, sessions, forgery, throttle, headers, the audit."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from hub.api.access import GRANTS, Access, Role
from hub.api.guard import COOKIE
from hub.api.shell import MOST_BYTES
from hub.app.web import PUBLIC, create_app, permissions
from kernel.clock import Clock
from kernel.errors import BrokenInvariant, ConfigError
from tests.builders.api import BASE, Hub, ask


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


def calls(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    """(method, path filled in, permission) of every route that needs one."""
    fill = {
        "site": "alma",
        "device": "m0001",
        "order": "nobody",
        "report": "r-alma",
        "form": "json",
        "hold_id": "hold-9",
        "job": "nobody",
        "act": "pause",
    }
    for method, path, permission in permissions(app):
        if path not in PUBLIC:
            filled = re.sub(r"{(\w+)}", lambda found: fill[found[1]], path)
            query = "?start_ms=1700000000000&end_ms=1700000060000" if path.endswith("/series") else ""
            yield method, filled + query, str(permission)


def test_every_route_as_every_role(hub: Hub) -> None:
    seen = 0
    people: list[tuple[Role | None, TestClient]] = [(role, hub.client(role)) for role in Role]
    for method, path, permission in calls(hub.app):
        if path.endswith("/stream"):
            continue
        assert permission in frozenset().union(*GRANTS.values())
        for role, client in people:
            status = client.request(method, path).status_code
            allowed = role is not None and permission in GRANTS[role]
            assert (status == 403) != allowed, (method, path, role, status)
            assert status < 500 and status != 401
            seen += 1
    assert seen > 80
    stranger = hub.client()
    for method, path, _ in list(calls(hub.app))[:9]:
        assert stranger.request(method, path).status_code == 401


def test_permissions_of_one_path_differ_by_method(hub: Hub) -> None:
    regulator = hub.client(Role.REGULATOR)
    assert regulator.get("/api/v1/sites/alma/orders").status_code == 200
    assert regulator.post("/api/v1/sites/alma/orders", json=ask(hub)).status_code == 403
    denied = hub.audit("access.denied")
    assert denied[-1]["permission"] == "order:send" and denied[-1]["who"] == "a-regulator"


def test_a_route_without_a_permission_does_not_start(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.api import sites

    before = list(sites.router.routes)
    sites.router.add_api_route("/naked", lambda: {"a": 1})
    try:
        with pytest.raises(BrokenInvariant, match="naked"):
            create_app(hub.view.ports(), hub.access, hub.clock)
    finally:
        sites.router.routes[:] = before


def test_another_site_is_denied_and_a_missing_one_is_not_found(hub: Hub) -> None:
    mine = hub.client(Role.OPERATOR, ("alma",))
    assert mine.get("/api/v1/sites/alma/status").status_code == 200
    assert mine.get("/api/v1/sites/beta/status").status_code == 403
    assert [info["site"] for info in mine.get("/api/v1/sites").json()] == ["alma"]
    assert hub.client(Role.OPERATOR).get("/api/v1/sites/gamma/status").status_code == 404
    assert mine.get("/sites/beta").status_code == 403
    sent = mine.post("/api/v1/sites/alma/orders", json=ask(hub, scope="h1/beta"))
    assert sent.status_code == 409 and "may not give orders for h1/beta" in sent.json()["refused"]
    order = hub.client(Role.OPERATOR).post("/api/v1/sites/beta/orders", json=ask(hub)).json()
    assert mine.delete(f"/api/v1/sites/alma/orders/{order['id']}").status_code == 404, "an order of another site"
    assert hub.client(Role.TREASURY, ("alma",)).get("/api/v1/ledger").status_code == 404
    assert hub.client(Role.TREASURY).get("/api/v1/ledger").status_code == 200


def test_keys_are_kept_as_digests_expire_and_are_revoked(tmp_path: Path) -> None:
    now = [1_760_000_000_000]
    clock = Clock(lambda: now[0], lambda: now[0] / 1000)
    access = Access(tmp_path, clock)
    key = access.add_key("kegoc", Role.DISPATCHER, ["alma"], days=1)
    kept = (tmp_path / "access.json").read_text()
    assert key.split("_", 2)[2] not in kept and len(key.split("_", 2)[2]) == 43
    for name in ("access.json", "access.pepper"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    again = Access(tmp_path, clock)
    found = again.by_key(key)
    assert found and found.who == "kegoc" and found.role is Role.DISPATCHER
    for wrong in (key[:-1], key + "A", key.replace("mh_", "xx_"), "", "mh_", "mh_00000000_", key.upper(), "\udc80_ä"):
        assert again.by_key(wrong) is None
    now[0] += 86_400_000
    assert again.by_key(key) is None, "expired"
    other = again.add_key("aida", Role.OPERATOR, ["alma"])
    assert again.revoke(again.keys()[-1].id) and again.by_key(other) is None and not again.revoke("nobody")
    with pytest.raises(ConfigError):
        again.add_key("", Role.ADMIN, ["*"])
    with pytest.raises(ConfigError):
        again.add_key("a", Role.ADMIN, [])
    assert access.by_key(again.add_key("dana", Role.OPERATOR, ["alma"])), "made by another process"
    token = again.link()
    assert access.enter(token) and again.enter(token) is None, "opened by another process, once"
    assert token not in (tmp_path / "access.json").read_text()
    (tmp_path / "access.json").write_text("{")
    with pytest.raises(ConfigError, match=r"access\.json"):
        Access(tmp_path, clock)


def test_a_link_opens_one_session_once(hub: Hub) -> None:
    token = hub.access.link()
    client = hub.client()
    entered = client.get("/enter", params={"token": token})
    cookie = entered.headers["set-cookie"].lower()
    assert entered.status_code == 303 and "httponly" in cookie and "samesite=strict" in cookie and COOKIE in cookie
    assert client.get("/sites/alma").status_code == 200
    assert hub.client().get("/enter", params={"token": token}).status_code == 401
    assert hub.audit("access.entered")[0]["who"] == "console"
    assert token not in str(hub.view.events)
    fixed = hub.client()
    fixed.cookies.set(COOKIE, "chosen-by-somebody")
    assert fixed.get("/sites/alma").status_code == 401


def test_links_and_sessions_grow_old(tmp_path: Path) -> None:
    now = [1_760_000_000_000]
    access = Access(tmp_path, Clock(lambda: now[0], lambda: now[0] / 1000))
    old = access.link()
    now[0] += 31 * 60_000
    assert access.enter(old) is None
    session = access.enter(access.link())
    assert session and access.by_session(session)
    now[0] += 11 * 3_600_000
    assert access.by_session(session), "each use keeps it"
    now[0] += 13 * 3_600_000
    assert access.by_session(session) is None
    other = access.enter(access.link())
    assert other
    access.leave(other)
    assert access.by_session(other) is None


def test_what_changes_something_must_come_from_our_own_page(hub: Hub) -> None:
    path = "/api/v1/sites/alma/orders"
    client = hub.browser()
    assert client.post(path, json=ask(hub)).status_code == 201
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert client.post(path, json=ask(hub, reference="X"), headers=headers).status_code == 403
    del client.headers["Sec-Fetch-Site"]
    assert client.post(path, json=ask(hub, reference="X")).status_code == 403, "neither header"
    assert client.post(path, json=ask(hub, reference="X"), headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post(path, json=ask(hub, reference="X"), headers={"Origin": BASE}).status_code == 201


def test_guessing_is_throttled(hub: Hub) -> None:
    client = hub.client()
    answers = [
        client.get("/api/v1/sites", headers={"Authorization": f"Bearer mh_0_{i}"}).status_code for i in range(14)
    ]
    assert answers == [401] * 10 + [429] * 4
    assert client.get("/enter", params={"token": "x"}).status_code == 429
    kegoc = hub.client(Role.DISPATCHER)
    assert kegoc.get("/api/v1/sites").status_code == 200, "who has a key is not locked out by who has none"
    assert kegoc.post("/api/v1/sites/alma/orders", json=ask(hub, reference="X")).status_code == 201
    token = hub.access.link()
    assert hub.client().get("/enter", params={"token": token}, follow_redirects=False).status_code in (302, 303, 307)
    assert len(hub.audit("access.denied")) == 10


def test_headers_hosts_and_sizes(hub: Hub) -> None:
    client = hub.browser()
    page = client.get("/sites/alma")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["cache-control"] == "no-store"
    outside = re.findall(r'(?:src|href)="(?!/)([^"]*)"', page.text)
    assert all(link.startswith("#") for link in outside), outside
    assert "<script>alert" not in page.text and "&lt;script&gt;alert" in page.text
    assert client.get("/sites/alma", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/sites/alma", headers={"Host": "localhost:1"}).status_code != 421
    big = client.post("/api/v1/sites/alma/orders", content=b"x" * (MOST_BYTES + 1))
    assert big.status_code == 413
    for path in ("/static/../words.py", "/static/%2e%2e/words.py", "/static//etc/passwd", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 404
    assert client.get("/static/chart.js").status_code == 200
    assert client.get("/healthz").text == "ok\ncontrol ok\nprices failed\n", "the tasks, and no name of a site"
