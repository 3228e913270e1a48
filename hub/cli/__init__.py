# SPDX-License-Identifier: Apache-2.0
"""The command line: `mining-hub` and its sub-commands. Heavy rooms are imported by the command that needs them.

Exit codes: 0 done, 1 the answer is no (a report is invalid, a replay differs), 2 the input or configuration is wrong.
"""

import sys

from kernel.errors import ConfigError


def main() -> None:
    """The entry point of the `mining-hub` command."""
    from hub.cli.app import app

    try:
        app()
    except ConfigError as error:
        count = len(error.faults)
        print(f"{count} fault{'s' if count != 1 else ''}; nothing was done:", file=sys.stderr)
        for fault in error.faults:
            print(f"  {fault}", file=sys.stderr)
        sys.exit(2)
