# SPDX-License-Identifier: Apache-2.0
"""The smallest configuration without a fault."""

GOOD = """\
[hub]
name = "alatau"
[[sites]]
name = "north"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
[[sites.feeders]]
name = "f1"
cap_w = 1e6
"""
