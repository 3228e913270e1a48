# SPDX-License-Identifier: Apache-2.0
"""Bodies that several subjects share, and answers marked with the observe-only flag."""

from collections.abc import Mapping
from typing import Any, Final

import fastapi
from pydantic import Field

from hub.config.observe_only import FIELD
from hub.config.request import Request, Text, example

SITE: Final = "/sites/{site}"
"""Path of a site's routes below `/api/v1`."""


class Why(Request):
    """An act that needs a reason."""

    model_config = example({"why": "settled out of court"})

    why: Text = Field(description="Give the reason in 1 to 500 characters")


class MaybeWhy(Request):
    """An act that may carry a reason."""

    model_config = example({"why": "agreed with the shift"})

    why: Text | None = Field(default=None, description="Give the reason in 1 to 500 characters, or leave it out")


class DryRun(Request):
    """An act that can be tried first."""

    model_config = example({"dry_run": True})

    dry_run: bool = Field(default=False, description="true: only show the result")


def of_site(request: fastapi.Request, answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer about the request's site with the field that tells whether the site only observes."""
    return {**answer, FIELD: request.state.observe_only}
