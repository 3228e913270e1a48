# SPDX-License-Identifier: Apache-2.0
"""Energy from meter registers: slots with coverage, metering point passports, losses, utility's data."""
