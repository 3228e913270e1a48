# SPDX-License-Identifier: Apache-2.0
"""Each act records person, role and entry; a body is read only once the permission is known."""

from pathlib import Path
from typing import Any

import pytest

from hub.api.access import ENTRY_HEADER, Role
from kernel.actor import FIELD, Channel
from tests.builders.api import Hub, ask

ORDERS = "/api/v1/sites/alma/orders"


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


def authors(hub: Hub, *kinds: str) -> list[dict[str, Any]]:
    return [body[FIELD] for kind in kinds for body in hub.audit(kind)]


def test_an_order_carries_person_role_and_entry(hub: Hub) -> None:
    kegoc = hub.client(Role.DISPATCHER)
    made = kegoc.post(ORDERS, json=ask(hub)).json()
    assert made["channel"] == "rest"
    path = f"{ORDERS}/{made['id']}"
    kegoc.patch(path, json={"power_w": 9e5})
    kegoc.delete(path, params={"why": "over"})
    own = {"person": "a-dispatcher", "role": "dispatcher", "entry": "rest"}
    kinds = ("order.received", "order.accepted", "order.changed", "order.ended")
    assert authors(hub, *kinds) == [own] * 4 and authors(hub, "api.acted") == [own] * 3


def test_the_entry_is_the_page_the_command_line_or_the_telephone(hub: Hub) -> None:
    page, key = hub.browser(), hub.client(Role.OPERATOR)
    for client, declared, entry in (
        (page, None, "page"),
        (page, "telephone", "telephone"),
        (key, "command line", "command line"),
        (key, "telephone", "telephone"),
    ):
        headers = {} if declared is None else {ENTRY_HEADER: declared}
        line = client.post(ORDERS, json=ask(hub, reference=f"{entry} {declared}"), headers=headers).json()
        assert line["channel"] == entry
        assert authors(hub, "order.received")[-1]["entry"] == entry
    for client, entry in ((page, "command line"), (page, "rest"), (key, "mqtt"), (key, "page"), (key, "")):
        wrong = client.post(ORDERS, json=ask(hub), headers={ENTRY_HEADER: entry})
        assert wrong.status_code == 422 and wrong.json()["faults"][0]["place"] == ENTRY_HEADER, entry
    assert {one["entry"] for one in authors(hub, "access.entered")} == {"page"}


def test_channels_are_stored_under_these_names() -> None:
    assert [str(one) for one in Channel] == ["page", "rest", "mqtt", "104", "command line", "telephone"]


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"[" * 5000, b'{"colour": 1}'])
def test_a_body_is_read_only_once_the_permission_is_known(hub: Hub, raw: bytes) -> None:
    head = {"Content-Type": "application/json"}
    assert hub.client().post(ORDERS, content=raw, headers=head).status_code == 401
    assert hub.client(Role.REGULATOR).post(ORDERS, content=raw, headers=head).status_code == 403
    assert [body["permission"] for body in hub.audit("access.denied")] == ["order:send", "order:send"]
    faults = hub.client(Role.DISPATCHER).post(ORDERS, content=raw, headers=head)
    assert faults.status_code == 422 and faults.json()["faults"][0]["remedy"]
