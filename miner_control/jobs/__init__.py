# SPDX-License-Identifier: Apache-2.0
"""Bulk work on many miners: plan, waves with canaries, dry run of a command."""
