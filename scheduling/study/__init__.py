# SPDX-License-Identifier: Apache-2.0
"""Backtests, policies and what-if questions over histories and plans."""
