# SPDX-License-Identifier: Apache-2.0
"""Miner control: capabilities, commands and their verification by measurement."""
