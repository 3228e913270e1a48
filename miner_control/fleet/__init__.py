# SPDX-License-Identifier: Apache-2.0
"""Value types of a miner fleet: identity, envelope, observed columns, commands, command state, driver port."""
