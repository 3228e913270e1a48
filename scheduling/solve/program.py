# SPDX-License-Identifier: Apache-2.0
"""Linear programme as named blocks of columns and rows, and the interface to the solver HiGHS.

A block is known by its name and gives the indices of its columns or rows in its own shape. Always a maximisation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduling.problem.problem import Floats, Ints

INF = float("inf")


class Program:
    """Columns, rows and their coefficients, collected as arrays."""

    def __init__(self) -> None:
        self.columns: dict[str, Ints] = {}
        self.rows: dict[str, Ints] = {}
        """Indices in the programme by the block's name, in the block's shape."""
        self._column_parts: list[tuple[Floats, Floats, Floats, NDArray[np.bool_]]] = []
        self._row_parts: list[tuple[Floats, Floats]] = []
        self._terms: list[tuple[Ints, Ints, Floats]] = []
        self.column_count = 0
        self.row_count = 0
        self.offset = 0.0

    def add_columns(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        low: Any = 0.0,
        high: Any = INF,
        worth: Any = 0.0,
        whole: bool = False,
    ) -> Ints:
        """Columns `low <= value <= high`, `worth` in the objective, all broadcast to the shape; returns their indices."""
        size = int(np.prod(shape))
        at = np.arange(self.column_count, self.column_count + size, dtype=np.int64).reshape(shape)
        parts = [np.broadcast_to(np.asarray(part, dtype=np.float64), shape).ravel() for part in (low, high, worth)]
        self._column_parts.append((parts[0], parts[1], parts[2], np.full(size, whole)))
        self.columns[name] = at
        self.column_count += size
        return at

    def add_rows(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        low: Any = -INF,
        high: Any = INF,
    ) -> Ints:
        """Rows `low <= sum of terms <= high`; returns their indices."""
        size = int(np.prod(shape))
        at = np.arange(self.row_count, self.row_count + size, dtype=np.int64).reshape(shape)
        parts = [np.broadcast_to(np.asarray(part, dtype=np.float64), shape).ravel() for part in (low, high)]
        self._row_parts.append((parts[0], parts[1]))
        self.rows[name] = at
        self.row_count += size
        return at

    def add_terms(self, rows: Any, columns: Any, factor: Any = 1.0) -> None:
        """factor x column in each row; the three broadcast against each other."""
        row, column, value = np.broadcast_arrays(rows, columns, np.asarray(factor, dtype=np.float64))
        self._terms.append((row.ravel(), column.ravel(), value.ravel()))

    def arrays(self) -> "Arrays":
        """The programme as plain arrays, the matrix by rows; terms at the same position must not repeat."""
        row = np.concatenate([part[0] for part in self._terms]) if self._terms else np.zeros(0, np.int64)
        column = np.concatenate([part[1] for part in self._terms]) if self._terms else np.zeros(0, np.int64)
        value = np.concatenate([part[2] for part in self._terms]) if self._terms else np.zeros(0)
        order = np.argsort(row, kind="stable")
        begin = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=self.row_count))))
        low, high, worth, whole = (np.concatenate(parts) for parts in zip(*self._column_parts, strict=True))
        row_low, row_high = (
            (np.concatenate(parts) for parts in zip(*self._row_parts, strict=True))
            if self._row_parts
            else (np.zeros(0), np.zeros(0))
        )
        return Arrays(low, high, worth, whole, row_low, row_high, begin, column[order], value[order], self.offset)


@dataclass(frozen=True, slots=True)
class Arrays:
    """A programme as numbers: bounds and objective per column, bounds per row, matrix by rows (begin, index, value)."""

    low: Floats
    high: Floats
    worth: Floats
    whole: NDArray[np.bool_]
    row_low: Floats
    row_high: Floats
    begin: Ints
    index: Ints
    value: Floats
    offset: float


@dataclass(frozen=True, slots=True)
class Solution:
    """`status` as the solver's text; `x[column]`, `row_dual[row]` (d objective / d row bound; empty for a MILP), the
    objective and the proven upper bound. `x` is empty where the solver found nothing."""

    status: str
    x: Floats
    row_dual: Floats
    objective: float
    bound: float
    iterations: int

    @property
    def found(self) -> bool:
        return len(self.x) > 0


def load(arrays: Arrays, *, relaxed: bool = False, options: dict[str, Any] | None = None) -> Any:
    """A HiGHS instance with the programme, one thread, silent. `relaxed` drops integrality."""
    import highspy

    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    settings = {"output_flag": False, "threads": 1, "parallel": "off", "random_seed": 0, **(options or {})}
    for name, setting in settings.items():
        solver.setOptionValue(name, setting)
    maximise, rowwise = -1, 2
    status = solver.passModel(
        len(arrays.low),
        len(arrays.row_low),
        len(arrays.index),
        rowwise,
        maximise,
        arrays.offset,
        arrays.worth,
        arrays.low,
        arrays.high,
        arrays.row_low,
        arrays.row_high,
        arrays.begin[:-1].astype(np.int32),
        arrays.index.astype(np.int32),
        arrays.value,
        np.zeros(len(arrays.low), np.int32) if relaxed else arrays.whole.astype(np.int32),
    )
    if status == highspy.HighsStatus.kError:
        raise ValueError("HiGHS refused the programme: a bound or coefficient is no number")
    return solver


class WarmProgramme:
    """A programme that stays loaded: where the next one has the same matrix, only bounds and objective are changed, and the
    simplex method continues from its last basis."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._arrays: Arrays | None = None
        self._solver: Any = None

    def solve(self, arrays: Arrays) -> Solution:
        """The linear relaxation of the programme, with a warm start where possible."""
        old = self._arrays
        same = old is not None and all(
            np.array_equal(getattr(old, name), getattr(arrays, name)) for name in ("begin", "index", "value", "whole")
        )
        if old is None or not same or len(old.low) != len(arrays.low):
            self._solver = load(arrays, relaxed=True, options=self._options)
        else:
            self._change(old, arrays)
        self._arrays = arrays
        return solve(self._solver, has_whole=False)

    def _change(self, old: Arrays, new: Arrays) -> None:
        columns = np.flatnonzero((old.low != new.low) | (old.high != new.high)).astype(np.int32)
        if len(columns):
            self._solver.changeColsBounds(len(columns), columns, new.low[columns], new.high[columns])
        worth = np.flatnonzero(old.worth != new.worth).astype(np.int32)
        if len(worth):
            self._solver.changeColsCost(len(worth), worth, new.worth[worth])
        rows = np.flatnonzero((old.row_low != new.row_low) | (old.row_high != new.row_high)).astype(np.int32)
        if len(rows):
            self._solver.changeRowsBounds(len(rows), rows, new.row_low[rows], new.row_high[rows])
        self._solver.changeObjectiveOffset(new.offset)


def solve(solver: Any, *, has_whole: bool) -> Solution:
    """Run and read the result. After a limit it is the best point found, with its bound."""
    import highspy

    solver.run()
    status = solver.modelStatusToString(solver.getModelStatus())
    info = solver.getInfo()
    solution = solver.getSolution()
    feasible = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    if not feasible:
        return Solution(status, np.zeros(0), np.zeros(0), float("nan"), INF, int(info.simplex_iteration_count))
    x = np.array(solution.col_value)
    dual = np.zeros(0) if has_whole else np.array(solution.row_dual)
    objective = float(info.objective_function_value)
    optimal = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    bound = float(info.mip_dual_bound) if has_whole else (objective if optimal else INF)
    return Solution(status, x, dual, objective, bound, int(info.simplex_iteration_count))
