"""How the documentation is built: Markdown pages, and a reference made from the docstrings."""

from tenuto import __version__

project = "Tenuto"
author = "The Tenuto authors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"Tenuto {__version__}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

default_role = "code"  # the docstrings quote names in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "description"
