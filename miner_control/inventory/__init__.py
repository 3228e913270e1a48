# SPDX-License-Identifier: Apache-2.0
"""Inventory of miners: asset register, positions, discovery, catalogue of models and firmware capabilities."""
