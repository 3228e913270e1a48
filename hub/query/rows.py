# SPDX-License-Identifier: Apache-2.0
"""Alarms, orders and receipts as the lines that page and API show."""

from collections.abc import Mapping
from typing import Any, cast

import hub.query.schema as shape
from grid.order_entry import Entry
from hub.config.observe_only import FIELD
from kernel.event import Event
from telemetry.alarm.alarm import Alarm, AlarmBook


def alarm_line(alarm: Alarm, book: AlarmBook) -> shape.AlarmLine:
    """An alarm with the texts of its rule."""
    rule = book.rules[alarm.rule]
    return {
        "rule": alarm.rule,
        "scope": alarm.scope,
        "priority": str(alarm.priority.value),
        "state": str(alarm.state.value),
        "raised_ms": alarm.raised_ms,
        "value": alarm.value,
        "text": rule.text,
        "action": rule.action,
        "who": alarm.who,
        "why": alarm.why,
        "shelved_until_ms": alarm.shelved_until_ms,
    }


def order_line(entry: Entry, observe_only: bool | None) -> shape.OrderLine:
    """An order as the book holds it. `observe_only`: whether its site only observes; None where its scope is of no site."""
    return cast(shape.OrderLine, {**entry.to_json(), FIELD: observe_only})


def receipt_line(body: Mapping[str, Any]) -> shape.ReceiptLine:
    """A command and what came of it."""
    return {
        "at_ms": body["at_ms"],
        "command": body["id"],
        "device": str(body["device"]).rpartition("/")[2],
        "intent": body["intent"],
        "reason": body["reason"],
        "outcome": body["outcome"],
        "text": str(body.get("text", "")),
        "took_s": body.get("took_s"),
    }


def third_party_line(scope: str, event: Event) -> dict[str, Any]:
    """Control by another system: its name, the evidence, since when."""
    body = event.body
    return {
        "scope": scope,
        "who": body.get("who", body.get("owner")),
        "text": body.get("words", ""),
        "at_ms": event.at_ms,
    }
