# SPDX-License-Identifier: Apache-2.0
"""Ports of storage: journal, archive, retention, forwarding to other stores."""
