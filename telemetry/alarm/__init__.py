# SPDX-License-Identifier: Apache-2.0
"""Alarm rules, their conditions over the snapshot, the life of alarms after ISA-18.2, alarm rates."""
