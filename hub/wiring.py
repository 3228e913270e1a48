# SPDX-License-Identifier: Apache-2.0
"""The composition root: the one file that knows every room, and the only one that imports `*.io`."""
