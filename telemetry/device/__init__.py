# SPDX-License-Identifier: Apache-2.0
"""Device models as data: profiles, their points and switches, and the codec that uses them."""
