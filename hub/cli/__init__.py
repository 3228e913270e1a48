# SPDX-License-Identifier: Apache-2.0
"""The command line: mining-hub and its sub-commands."""
