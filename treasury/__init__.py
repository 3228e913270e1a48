# SPDX-License-Identifier: Apache-2.0
"""Double-entry ledger, payouts and settlement in whole satoshi, tiyn, cents and watt-hours.

It knows no devices: energy and other figures are passed to it.
"""
