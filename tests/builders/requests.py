# SPDX-License-Identifier: Apache-2.0
"""Requests as the API reads them, without HTTP."""

from typing import TypeVar

from pydantic import ValidationError

from hub.config.request import Request, request_faults
from kernel.errors import ConfigError

M = TypeVar("M", bound=Request)


def read(model: type[M], body: object) -> M:
    """A request from its JSON value. Raises ConfigError with every fault."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise ConfigError(request_faults(error.errors(), model)) from None
