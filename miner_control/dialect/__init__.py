# SPDX-License-Identifier: Apache-2.0
"""What each firmware speaks: pure functions, one module a firmware family."""
