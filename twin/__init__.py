# SPDX-License-Identifier: Apache-2.0
"""Simulated devices on real sockets, reached by the hub through its real drivers."""
