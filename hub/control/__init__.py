# SPDX-License-Identifier: Apache-2.0
"""The control tick, its loops, planning and alarms, and the interlock before a command is sent."""
