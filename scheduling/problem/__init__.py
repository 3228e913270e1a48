# SPDX-License-Identifier: Apache-2.0
"""One decision as numbers: the problem, how it is built from what is known, forecasts, its objective."""
