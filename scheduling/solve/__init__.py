# SPDX-License-Identifier: Apache-2.0
"""Plans with a proven bound: programme, decomposition, merit order, and the independent check."""
