# SPDX-License-Identifier: Apache-2.0
"""Make-believe devices on real sockets: the hub talks to them through its real drivers."""
