# SPDX-License-Identifier: Apache-2.0
"""JSON bodies of requests: one object, no NaN, texts within bounds; and answers marked with the observe-only flag."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request

from hub.config.observe_only import FIELD
from kernel.errors import ConfigError, Fault

SITE: Final = "/sites/{site}"
"""Path of a site's routes below `/api/v1`."""


def of_site(request: Request, answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer about the request's site with the field that tells whether the site only observes."""
    return {**answer, FIELD: request.state.observe_only}


def texts_of(body: dict[str, Any], *names: str) -> list[str]:
    """Fields that must be texts of one line. Raises ConfigError with all that are not."""
    bad = [
        name for name in names if not isinstance(body.get(name), str) or not body[name].strip() or len(body[name]) > 500
    ]
    if bad:
        raise ConfigError([Fault(name, "is missing or no text", "Write 1 to 500 characters") for name in bad])
    return [body[name] for name in names]


async def object_of(request: Request) -> dict[str, Any]:
    """The body as one JSON object. Raises ConfigError."""
    raw = await request.body()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise ConfigError([Fault("body", "is no JSON", "Send one JSON object in UTF-8")]) from None
    if not isinstance(body, dict):
        raise ConfigError([Fault("body", "is no JSON object", "Send one JSON object")])
    if any(isinstance(value, float) and not math.isfinite(value) for value in body.values()):
        raise ConfigError([Fault("body", "holds NaN or Infinity", "JSON knows no such number")])
    return body
