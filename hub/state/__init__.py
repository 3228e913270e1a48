# SPDX-License-Identifier: Apache-2.0
"""The state of the hub as a fold of its journal, and the checkpoint of it."""
