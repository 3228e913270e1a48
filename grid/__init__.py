# SPDX-License-Identifier: Apache-2.0
"""Grid and market: prices, tariffs, power limits, dispatch orders, proof of compliance."""
