# SPDX-License-Identifier: Apache-2.0
"""Studies: backtests, policies and what-if questions over histories and plans."""
