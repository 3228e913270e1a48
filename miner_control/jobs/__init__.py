# SPDX-License-Identifier: Apache-2.0
"""Jobs on many miners: plan, waves with canaries, dry run of a command."""
