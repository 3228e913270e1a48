# SPDX-License-Identifier: Apache-2.0
"""Offers and hedges of a site: power, reserve, and day-ahead positions over scenarios."""
