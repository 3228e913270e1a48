# SPDX-License-Identifier: Apache-2.0
"""Control chain from power target to verified commands: allocation, guard, cooling, inrush, sending, read-back."""
