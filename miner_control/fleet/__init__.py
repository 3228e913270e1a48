# SPDX-License-Identifier: Apache-2.0
"""Miners as values: identity, envelope, observed columns, commands and their state, the port of a driver."""
