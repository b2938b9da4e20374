"""How the documentation is built: Markdown pages, and a reference made from the docstrings."""

from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

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


def setup(app: Sphinx) -> None:
    """Show Mermaid diagrams as their text (GitHub draws them), and the tree of errors as it is drawn."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("autodoc-process-docstring", keep_drawing)


def keep_drawing(_app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Make what a module's docstring draws below its first sentence a literal block."""
    if what == "module" and any("├──" in line for line in lines):
        lines[1:] = ["", "::", "", *(f"    {line}" for line in lines[1:])]
