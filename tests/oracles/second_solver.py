# SPDX-License-Identifier: Apache-2.0
"""The same programme through a second path: scipy's own call of a solver, with its own matrix and tolerances.

It must agree with `exact` on small cases, so that a slip in how we load or read HiGHS is seen.
"""

import numpy as np

from scheduling.problem.problem import Problem
from scheduling.solve.model import build


def second_value(problem: Problem, *, gap: float = 1e-6, nodes: int = 200, relaxed: bool = False) -> float | None:
    """The best value that `scipy.optimize.milp` finds within `nodes`, or None where it finds none that keeps all rules."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    model = build(problem)
    arrays = model.program.arrays()
    matrix = csr_matrix((arrays.value, arrays.index, arrays.begin), shape=(len(arrays.row_low), len(arrays.low)))
    found = milp(
        -arrays.worth,
        integrality=np.zeros(len(arrays.low), np.int64) if relaxed else arrays.whole.astype(np.int64),
        bounds=Bounds(arrays.low, arrays.high),
        constraints=LinearConstraint(matrix, arrays.row_low, arrays.row_high),
        options={"mip_rel_gap": gap, "node_limit": nodes, "disp": False},
    )
    if found.x is None:
        return None
    return float((arrays.offset - found.fun) * model.scale_money)
