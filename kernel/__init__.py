# SPDX-License-Identifier: Apache-2.0
"""Basic types of all packages: time, units, readings, money, identifiers, events, curves, dated rules."""
