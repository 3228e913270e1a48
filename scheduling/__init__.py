# SPDX-License-Identifier: Apache-2.0
"""Scheduling: power plans of the fleet with proven bounds, their explanation, and the control step."""
