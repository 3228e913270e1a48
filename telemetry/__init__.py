# SPDX-License-Identifier: Apache-2.0
"""Hear every device, keep what it said, and turn it into energy that can be billed."""
