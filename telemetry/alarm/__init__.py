# SPDX-License-Identifier: Apache-2.0
"""Alarm rules, their conditions on the latest values, alarm states of ISA-18.2, alarm statistics."""
