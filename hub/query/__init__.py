# SPDX-License-Identifier: Apache-2.0
"""The read model: what is shown of a running hub, as JSON values of its own shapes."""
