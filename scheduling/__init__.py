# SPDX-License-Identifier: Apache-2.0
"""Decide how much to draw when, prove how good the decision is, and say why."""
