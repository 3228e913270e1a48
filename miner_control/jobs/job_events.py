# SPDX-License-Identifier: Apache-2.0
"""Payloads of the events `job.*`."""

from typing import Any, NotRequired, TypedDict


class JobProposed(TypedDict):
    """Bulk work as `miner_control.jobs.job_plan.JobPlan.to_json`. `prior*`: of each device before."""

    id: str
    name: str
    by: str
    intent: dict[str, Any]
    waves: list[list[str]]
    skipped: list[list[str]]
    prior: dict[str, int]
    prior_pools: dict[str, dict[str, Any]]
    prior_images: NotRequired[dict[str, dict[str, Any]]]
    rollout: dict[str, Any]
    deadline_s: float


class JobChanged(TypedDict):
    """`what`: approved, paused, resumed, retry, restore or ended."""

    id: str
    name: str
    what: str
    by: str
    why: str


class JobWave(TypedDict):
    """Commands that leave together: command id to device."""

    id: str
    name: str
    step: str
    commands: dict[str, str]
