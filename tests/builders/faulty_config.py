# SPDX-License-Identifier: Apache-2.0
"""A configuration with ten faults."""

TEN_FAULTS = """\
[hub]
name = "Alatau City"
port = 99999
colour = "red"

[[sites]]
name = "north"
zone = "Asia/Almatty"
import_cap_w = -5
inventory = "nowhere.csv"

[[sites.feeders]]
name = "f1"
cap_w = "much"

[[sites.meters]]
name = "main"
role = "main"
profile = "eastron_sdm63"
host = "127.0.0.1"
feeder = "f9"

[polling]
miner_fast_s = 0
"""
