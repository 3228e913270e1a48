# SPDX-License-Identifier: Apache-2.0
"""`/api/v1` only grows: no path, parameter, field or answer of `openapi.json` is gone or changed, and none is newly required."""

import copy
import json
from typing import Any

import pytest

from grid.order import read_change, read_order
from tests.architecture.openapi import HELD, document, lost, present

CREATED_MS = 1_767_600_000_000


@pytest.fixture(scope="module")
def held() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(HELD.read_text())
    return found


def test_nothing_of_the_api_is_gone_changed_or_newly_required(held: dict[str, Any]) -> None:
    lines = lost(present(), held)
    assert not lines, "clients of /api/v1 rely on this:\n" + "\n".join(lines)


def test_what_is_new_is_held_too(held: dict[str, Any]) -> None:
    assert present() == held, "run `python -m tests.architecture.openapi`, and see that each line may stay"


def test_a_loss_and_a_new_demand_are_distinguished_from_growth(held: dict[str, Any]) -> None:
    orders, fact = "/api/v1/sites/{site}/orders", "FactRow"
    grown = copy.deepcopy(held)
    grown["paths"]["/api/v1/more"] = {"get": {}}
    grown["components"]["schemas"][fact]["properties"]["note"] = {"type": "string"}
    assert lost(grown, held) == []
    for change, line in (
        (lambda doc: doc["paths"].pop(orders), f"/paths/{orders} is gone"),
        (lambda doc: doc["components"]["schemas"][fact]["properties"].pop("what"), f"/{fact}/properties/what is gone"),
        (lambda doc: doc["components"]["schemas"][fact]["required"].append("note"), f"{fact}/note is required now"),
        (
            lambda doc: doc["components"]["schemas"]["AlarmLine"]["properties"]["rule"].update(type="integer"),
            "'integer'",
        ),
        (
            lambda doc: doc["paths"][orders]["get"]["parameters"].update({"query x": {"required": True}}),
            f"{orders} get/parameters/query x is required now",
        ),
    ):
        changed = copy.deepcopy(held)
        change(changed)
        assert any(line in one for one in lost(changed, held)), line


def test_every_body_has_an_example_that_is_read() -> None:
    """With orders and changes as the book reads them."""
    whole = document()
    schemas, seen = whole["components"]["schemas"], 0
    for path, methods in whole["paths"].items():
        for method, route in methods.items():
            if "requestBody" in route:
                (name,) = [route["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
                (example, *_), seen = schemas[name]["examples"], seen + 1
                assert set(example) <= set(schemas[name]["properties"]), (method, path)
                assert set(schemas[name].get("required", ())) <= set(example), (method, path)
                if name == "OrderBody":
                    assert (
                        read_order({"scope": "hub/site", **example}, "kegoc", "rest", CREATED_MS).power_w
                        == example["power_w"]
                    )
                elif name == "ChangeBody":
                    assert read_change(example).power_w == example["power_w"]
    assert seen >= 16
