# SPDX-License-Identifier: Apache-2.0
"""The words that every room shares: time, units, readings, money, ids, events, curves, dated rules."""
