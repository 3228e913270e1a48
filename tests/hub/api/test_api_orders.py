# SPDX-License-Identifier: Apache-2.0
"""Orders and reports over REST: accepted, retried, refused, changed, ended; pulls in the journal before the bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.api.access import Role
from hub.config.observe_only import HEADER
from hub.console.text import money, plan_slots, power, when
from kernel.clock import from_iso, iso
from tests.builders.api import Hub, ask
from tests.servers import count

ORDERS = "/api/v1/sites/alma/orders"


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


def test_an_order_its_retry_its_change_its_end(hub: Hub) -> None:
    kegoc = hub.client(Role.DISPATCHER, ("alma",))
    body = ask(hub, reason="line 5 out")
    first = kegoc.post(ORDERS, json=body)
    assert first.status_code == 201 and first.json()["phase"] == "acting" and first.json()["channel"] == "rest"
    again = kegoc.post(ORDERS, json=body)
    assert again.json()["id"] == first.json()["id"]
    assert len([e for e in hub.view.events if e.kind == "order.received"]) == 1

    path = f"{ORDERS}/{first.json()['id']}"
    changed = kegoc.patch(path, json={"power_w": 9e5})
    assert changed.json()["power_w"] == 9e5
    assert kegoc.get(path).json() == changed.json()
    status = kegoc.get("/api/v1/sites/alma/status").json()
    assert status["cap_w"] == 9e5 and "line 5 out" in status["why"]["text"]

    ended = kegoc.delete(path, params={"why": "all clear"}).json()
    assert ended["phase"] == "released" and "all clear" in ended["ended"]
    assert kegoc.delete(path).json() == ended
    whats = [body["what"] for body in hub.audit("api.acted")]
    assert whats == ["order:send", "order:send", "order:change", "order:end", "order:end"]
    assert kegoc.get(f"{ORDERS}/nobody").status_code == 404
    assert kegoc.patch(f"{ORDERS}/nobody", json={"power_w": 1}).status_code == 404


def test_an_operator_may_end_but_not_loosen_a_dispatchers_order(hub: Hub) -> None:
    kegoc, aida = hub.client(Role.DISPATCHER), hub.client(Role.OPERATOR)
    order = kegoc.post(ORDERS, json=ask(hub)).json()
    loosened = aida.patch(f"{ORDERS}/{order['id']}", json={"power_w": 2e6}).json()
    assert loosened["power_w"] == 1e6 and "not loosen" in loosened["notes"][-1]
    assert aida.delete(f"{ORDERS}/{order['id']}").json()["phase"] == "released"


def test_refusals_and_faults(hub: Hub) -> None:
    kegoc = hub.client(Role.DISPATCHER)
    refused = kegoc.post(ORDERS, json=ask(hub, power_w=1e12))
    assert refused.status_code == 409 and "check the unit" in refused.json()["refused"]
    wrong = kegoc.post(ORDERS, json={"power_w": "much", "until": "soon", "colour": 1})
    assert wrong.status_code == 422
    places = {fault["place"] for fault in wrong.json()["faults"]}
    assert places == {"order.power_w", "order.until", "order.colour"}
    for raw in (b"", b"[]", b"{", b"7", b'{"power_w": NaN}', b"\xff\xff", b"[" * 5000):
        assert kegoc.post(ORDERS, content=raw).status_code == 422
    body = json.dumps(ask(hub, reason="line")).encode()
    for raw in (
        body.replace(b'"line"', b'"\\ud800"'), body.replace(b'"line"', b'"a\\u0000b"'), body.replace(b'"line"', b'"\\u202eenil"'),
        body.replace(b'"line"', b"[" * 10_000 + b"]" * 10_000), body.replace(b'"line"', b"9" * 400),
        body[:-1] + b', "power_w": 0}',
    ):  # fmt: skip
        answer = kegoc.post(ORDERS, content=raw)
        assert answer.status_code == 422 and answer.json()["faults"][0]["place"], raw[:80]
    typed = {"Content-Type": "application/x-www-form-urlencoded"}
    assert kegoc.post(ORDERS, content=json.dumps(ask(hub)).encode(), headers=typed).status_code == 201, (
        "JSON all the same"
    )


def test_an_answer_about_a_site_says_in_its_head_whether_it_only_observes(hub: Hub) -> None:
    kegoc = hub.client(Role.DISPATCHER)
    for faults, reported in ((frozenset[str](), "false"), (frozenset({"observing"}), "true")):
        hub.view.faults = faults
        for path in ("orders", "orders/nobody", "status", "availability"):
            assert kegoc.get(f"/api/v1/sites/alma/{path}").headers[HEADER] == reported, path
        assert kegoc.post(ORDERS, json={}).headers[HEADER] == reported, "a fault is an answer too"
        assert kegoc.get("/api/v1/sites/beta/status").headers[HEADER] == "false"
    for other in (
        kegoc.get("/api/v1/sites"),
        hub.client().get("/api/v1/sites/alma/status"),
        kegoc.get("/api/v1/sites/x/status"),
    ):
        assert HEADER not in other.headers, "of no site, or not for who asks"


@pytest.fixture
def kegoc(hub: Hub) -> TestClient:
    return hub.client(Role.DISPATCHER)


@settings(max_examples=count(60, 3000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["power_w", "until", "from", "scope", "reference", "nonce", "signature", "issued", "x"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=30)
        | st.lists(st.integers(), max_size=2),
    )
)
def test_no_body_breaks_it(kegoc: TestClient, body: dict[str, Any]) -> None:
    status = kegoc.post(ORDERS, content=json.dumps(body).encode()).status_code
    assert status in (201, 409, 422)
    if status == 201:
        assert {"power_w", "until"} <= set(body)


def test_alarms_are_seen_and_shelved(hub: Hub) -> None:
    aida, path = hub.client(Role.OPERATOR), "/api/v1/sites/alma/alarms"
    first = {"rule": "meter-silent", "scope": "h1/alma/meter-f2"}
    assert {line["state"] for line in aida.get(path).json()} == {"unacknowledged"}
    seen = aida.post(f"{path}/acknowledge", json=first).json()
    assert {(line["rule"], line["state"], line["who"]) for line in seen} >= {
        ("meter-silent", "acknowledged", "a-operator")
    }
    shelf = {
        "rule": "container-supply-hot",
        "scope": "h1/alma/container-1",
        "why": "pump is being mended",
        "minutes": 60,
    }
    put = {line["rule"]: line for line in aida.post(f"{path}/shelve", json=shelf).json()}
    assert put["container-supply-hot"]["state"] == "shelved" and put["container-supply-hot"]["why"] == shelf["why"]
    for change in ({"rule": "meter-silent", "scope": f"h1/alma/m{i}", "what": "raised"} for i in range(5)):
        hub.view.alarm_book.apply(change, hub.clock.now_ms())
    everywhere = aida.post(f"{path}/acknowledge", json={"rule": "meter-silent"}).json()
    assert sum(line["state"] == "acknowledged" for line in everywhere) == 6
    assert aida.post(f"{path}/acknowledge", json={"rule": "meter-silent"}).status_code == 404, "nothing waits"
    for wrong in ({}, {"rule": 1, "scope": ""}, shelf | {"why": " "}, shelf | {"minutes": 0}, shelf | {"minutes": "x"}):
        assert aida.post(f"{path}/shelve", json=wrong).status_code == 422
    assert aida.post(f"{path}/acknowledge", json={"rule": "none", "scope": "x"}).status_code == 404
    assert hub.client(Role.DISPATCHER).post(f"{path}/acknowledge", json=first).status_code == 403
    assert [body["what"] for body in hub.audit("api.acted")] == [
        "alarm:acknowledge",
        "alarm:shelve",
        "alarm:acknowledge",
    ]


def test_reports_are_pulled_on_the_record(hub: Hub) -> None:
    clerk = hub.client(Role.REGULATOR)
    line = clerk.get("/api/v1/sites/alma/reports").json()[0]
    pulled = clerk.get(f"/api/v1/sites/alma/reports/{line['id']}/json")
    assert pulled.content == b'{"a": 1}' and "attachment" in pulled.headers["content-disposition"]
    said = hub.audit("report.pulled")
    assert said == [
        {
            "who": "a-regulator",
            "role": "regulator",
            "report": "r-alma",
            "form": "json",
            "sha256": hashlib.sha256(pulled.content).hexdigest(),
            "actor": {"person": "a-regulator", "role": "regulator", "entry": "rest"},
        }
    ]
    for path in ("r-alma/exe", "r-beta/json", "..%2f..%2fetc/json"):
        assert clerk.get(f"/api/v1/sites/alma/reports/{path}").status_code == 404
    assert len(hub.audit("report.pulled")) == 1

    hub.view.faults = frozenset({"journal"})
    with pytest.raises(OSError):
        clerk.get(f"/api/v1/sites/alma/reports/{line['id']}/json")


def test_openapi_names_every_route_and_the_shapes(hub: Hub) -> None:
    schema = hub.client(Role.OPERATOR).get("/api/v1/openapi.json").json()
    assert {"Status", "OrderLine", "Fleet", "Series"} <= set(schema["components"]["schemas"])
    assert "requestBody" in schema["paths"]["/api/v1/sites/{site}/orders"]["post"]


def test_slots_of_one_reason_are_joined_with_their_range() -> None:
    reasons = ["price 10.5 KZT/MWh: all pay", "price 30 KZT/MWh: all pay", "order D-117 caps it", "order D-117 caps it"]
    plan = {"edges_ms": [0, 10, 20, 30, 40], "power_w": [1e6, 1.001e6, 5e5, 5e5], "reasons": reasons}
    rows = [(row["start_ms"], row["end_ms"], row["reason"]) for row in plan_slots(plan, 0, 9)]
    assert rows == [(0, 20, "price 10–30 KZT/MWh: all pay"), (20, 40, "order D-117 caps it")]
    assert plan_slots(plan, 15, 9)[0]["reason"] == "price 30 KZT/MWh: all pay"
    assert plan_slots(plan, 40, 9) == [] and plan_slots(None, 0, 9) == []


def test_texts() -> None:
    assert [power(v) for v in (None, 5.0, 2.5e3, 1.234e6)] == ["—", "5\u202fW", "2.50\u202fkW", "1.23\u202fMW"]
    now_ms = from_iso("2026-01-05T10:00:00Z")
    at = from_iso("2026-01-05T12:00:00Z")
    assert when((now_ms, at), now_ms, "Asia/Almaty") == "15:00 – 17:00"
    assert when((0, 2**42), now_ms, "UTC") == "always" and when((0, at), now_ms, "UTC") == "until 12:00"
    tomorrow = at + 86_400_000
    assert when((tomorrow, tomorrow + 3_600_000), now_ms, "UTC") == "06 Jan 12:00 – 13:00"
    assert when((at, at + 45_000), now_ms, "UTC") == "12:00:00 – 12:00:45"
    assert when((at, 2**42), now_ms, "UTC") == "from 12:00"
    assert when((now_ms, at + 86_400_000), now_ms, "UTC") == "10:00 – 06 Jan 12:00"
    assert money({"net": -123456, "unit": "TIYN"}) == "-1\u202f234.56\u202fKZT"
    assert iso(now_ms).startswith("2026")
