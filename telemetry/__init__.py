# SPDX-License-Identifier: Apache-2.0
"""Telemetry: device models, polling, energy, alarms, storage of readings and events."""
