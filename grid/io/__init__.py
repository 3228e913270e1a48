# SPDX-License-Identifier: Apache-2.0
"""Sockets and files of grid: one thin module each, imported by the wiring alone."""
