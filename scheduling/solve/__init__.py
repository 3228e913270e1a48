# SPDX-License-Identifier: Apache-2.0
"""Solvers of the planning problem with proven bounds, and the independent check of plans."""
