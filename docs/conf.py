# SPDX-License-Identifier: Apache-2.0
"""Sphinx with MyST: the book is written in Markdown, the API pages from docstrings."""

project = "mining-hub"
author = "The mining-hub authors"
copyright = "2026, the mining-hub authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "mining-hub"
exclude_patterns = ["_build"]
autodoc_typehints = "description"
