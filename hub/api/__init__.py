# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: keys with roles, deny by default, every act audited."""
