# SPDX-License-Identifier: Apache-2.0
"""Energy of meters for billing, reports and comparison with the utility's data."""
