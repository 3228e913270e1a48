# SPDX-License-Identifier: Apache-2.0
"""Commands leave only as the return value of the durable write: no other module of the product makes `Journalled`."""

import ast

from tests.architecture.source import FILES, ROOT, tree


def test_only_the_durable_write_makes_journalled_commands() -> None:
    makers = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Journalled"
    }
    assert makers == {"hub/journal/issue.py"}
