# SPDX-License-Identifier: Apache-2.0
"""From a power target to commands: allocation, guard, sequences of loads, inrush, sending and read-back."""
