# SPDX-License-Identifier: Apache-2.0
"""Dialects: what each firmware speaks. Pure: bytes to values, intents to wire steps; no socket is seen here."""

from collections.abc import Mapping

from miner_control.dialect.antminer import Antminer
from miner_control.dialect.whatsminer import Whatsminer
from miner_control.driver import Dialect

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (Antminer(), Whatsminer())}
