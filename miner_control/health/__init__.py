# SPDX-License-Identifier: Apache-2.0
"""Condition of miners: faults, performance reference, recovery after a failed wake, control by other systems."""
