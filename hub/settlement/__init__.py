# SPDX-License-Identifier: Apache-2.0
"""Settlement rounds: evidence of the pool, division, sale and bank."""
