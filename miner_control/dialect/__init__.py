# SPDX-License-Identifier: Apache-2.0
"""Dialects: protocol of each firmware. Pure: bytes to values, intents to wire steps, without sockets."""

from collections.abc import Mapping

from miner_control.dialect.antminer import Antminer
from miner_control.dialect.auradine import Auradine
from miner_control.dialect.avalon import Avalon
from miner_control.dialect.bitaxe import Bitaxe
from miner_control.dialect.braiins import Braiins
from miner_control.dialect.epic import Epic
from miner_control.dialect.luxos import LuxOS
from miner_control.dialect.relative import Relative
from miner_control.dialect.vnish import VNish
from miner_control.dialect.whatsminer import Whatsminer
from miner_control.dialect.whatsminer_v3 import WhatsminerV3
from miner_control.fleet.driver import Dialect

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Antminer(),
        Whatsminer(),
        WhatsminerV3(),
        LuxOS(),
        Braiins(),
        VNish(),
        Avalon(),
        Epic(),
        Auradine(),
        Bitaxe(),
        Relative(),
    )
}
