# SPDX-License-Identifier: Apache-2.0
"""Know what each miner can do, ask it to, and believe only what is seen afterwards."""
