# SPDX-License-Identifier: Apache-2.0
"""Payloads of the events `command.*` and `owner.changed`."""

from typing import Any, NotRequired, TypedDict


class CommandIssued(TypedDict):
    """A command with the fields of its intent, as `miner_control.fleet.command.command_json`."""

    id: str
    device: str
    intent: str
    reason: str
    issued_ms: int
    deadline_s: float
    priority: int
    restore_mode: NotRequired[str]


class CommandReceipt(CommandIssued):
    """The command again, with its outcome. `cause`: a `kernel.receipt.HubCause` where it is the hub's own."""

    outcome: str
    text: NotRequired[str]
    code: NotRequired[str]
    cause: NotRequired[str]
    took_s: NotRequired[float]
    sampled_ms: NotRequired[int]
    proof: NotRequired[dict[str, Any]]


class OwnerChanged(TypedDict):
    """`hands_off`: the hub sends nothing to the device from now on."""

    device: str
    hands_off: bool
    owner: str
    words: str
    by: str
    evidence: NotRequired[dict[str, Any]]
