# SPDX-License-Identifier: Apache-2.0
"""What the site can offer and hedge: power, reserve, day-ahead positions over scenarios."""
