# SPDX-License-Identifier: Apache-2.0
"""Energy from registers: slots with coverage, metering point passports, losses, the utility's metered data."""
