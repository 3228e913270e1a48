# SPDX-License-Identifier: Apache-2.0
"""Identification of miner dynamics and performance from commands, read-backs and meters."""
