# SPDX-License-Identifier: Apache-2.0
"""One intent of each kind."""

import hashlib

from miner_control.fleet.command import (
    STOCK,
    InstallFirmware,
    Intent,
    Locate,
    Pool,
    PowerPercent,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)

POOLS = SetPools((Pool("stratum+tcp://new.example:3333", "acct.w9", "pw"),))


INTENTS: dict[str, Intent] = {
    "Sleep": Sleep(),
    "Wake": Wake(),
    "PowerTarget": PowerTarget(2500.0),
    "PowerPercent": PowerPercent(80.0),
    "SetMode": SetMode("low"),
    "Reboot": Reboot(),
    "Locate": Locate(True),
    "SetPools": POOLS,
    "SetCredential": SetCredential("root", "new"),
    "InstallFirmware": InstallFirmware("2.0", hashlib.sha256(b"image").hexdigest(), b"image"),
    "RollBackFirmware": RollBackFirmware(STOCK),
}
