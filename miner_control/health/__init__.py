# SPDX-License-Identifier: Apache-2.0
"""Faults, performance against the reference, recovery after a failed wake, control by other systems."""
