# SPDX-License-Identifier: Apache-2.0
"""Ports of what is kept: journal, archive, retention, forwarding to other stores."""
