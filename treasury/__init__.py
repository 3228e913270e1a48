# SPDX-License-Identifier: Apache-2.0
"""Money, kept in whole satoshi, tiyn and watt-hours, and proven. It knows no devices: it is handed numbers."""
