# SPDX-License-Identifier: Apache-2.0
"""Configuration and inventory of small sites, as text."""

SITE = """
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
[[sites.feeders]]
name = "f1"
cap_w = 2e6
[[sites.meters]]
name = "meter-1"
role = "main"
profile = "schneider_iem3000"
host = "192.0.2.10"
[retention]
raw = { meter = 62, miner = 30 }
"""
