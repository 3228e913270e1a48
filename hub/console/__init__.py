# SPDX-License-Identifier: Apache-2.0
"""Pages for people: templates and static files."""
