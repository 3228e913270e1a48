# SPDX-License-Identifier: Apache-2.0
"""Which miners there are and where they stand: register, positions, discovery, catalogue of models."""
