# SPDX-License-Identifier: Apache-2.0
"""The world outside the fence: prices, tariffs, limits, dispatchers' orders, and the proof that they were obeyed."""
