# SPDX-License-Identifier: Apache-2.0
"""Measurements of the product by itself: `python -m benchmarks.<name> --json`."""
