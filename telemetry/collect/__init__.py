# SPDX-License-Identifier: Apache-2.0
"""Sources and their polling, and the latest value of each metric of each device."""
