# SPDX-License-Identifier: Apache-2.0
"""Recording: what was heard and decided is written to the journal before anything rests on it."""
