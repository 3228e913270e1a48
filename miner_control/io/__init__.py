# SPDX-License-Identifier: Apache-2.0
"""Sockets and files of miner_control: one thin module each, imported by the wiring alone."""
