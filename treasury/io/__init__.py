# SPDX-License-Identifier: Apache-2.0
"""Sockets and files of treasury: one thin module each, imported by the wiring alone."""
