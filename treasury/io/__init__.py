# SPDX-License-Identifier: Apache-2.0
"""Input and output of the treasury: ledger file, pool, rates and venue; imported only by the wiring."""
