# SPDX-License-Identifier: Apache-2.0
"""Identification of what miners really do, from commands, read-backs and meters."""
