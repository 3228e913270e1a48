# SPDX-License-Identifier: Apache-2.0
"""Outside numbers: prices, difficulty, fees and the hashprice that follows from them."""
