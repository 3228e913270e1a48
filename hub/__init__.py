# SPDX-License-Identifier: Apache-2.0
"""Where everything is wired: configuration, loops, twin, reports, API, console, command line."""

__version__ = "0.1.0"
