# SPDX-License-Identifier: Apache-2.0
"""Planning problem: its data, construction from known facts, forecasts, and objective."""
