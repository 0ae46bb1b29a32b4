"""The documentation site: `make docs` builds it with Sphinx; warnings are errors."""

import contextlib
import io
import os
from importlib.metadata import version as version_of
from pathlib import Path

project = "dnabert2_fast"
author = "the authors of dnabert2_fast"
copyright = f"2026, {author}"
version = release = version_of("dnabert2-fast")
html_title = f"dnabert2_fast {release}"
html_theme = "furo"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["site"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
# Signatures contain types; numpydoc sections describe the rest.
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_use_rtype = False
napoleon_google_docstring = False
napoleon_use_ivar = True  # fields of named tuples are in "Attributes", not twice
# Without this, "sequence" becomes a link to the first field that happens to have the name.
napoleon_preprocess_types = True
napoleon_type_aliases = {
    "path": ":py:class:`path <os.PathLike>`",
    "sequence": ":py:class:`sequence <collections.abc.Sequence>`",
}


def command_line_page() -> str:
    """Return the page of all commands, made from the help texts of their parsers."""
    from dnabert2_fast import cli

    os.environ.update(COLUMNS="80", NO_COLOR="1")
    parts = ["# Command line", "", "Every command, as `dnabert2-fast COMMAND --help` prints it."]
    parts += ["To complete them with Tab, see [Installation](guides/install.md).", ""]
    for command, (summary, _) in cli.COMMANDS.items():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main([command, "--help"])
        lines = [line.rstrip() for line in printed.getvalue().splitlines()]
        help_text = "\n".join(line for line in lines if set(line) != set(" -"))
        parts += ["", f"## {command}", "", f"{summary.capitalize()}.", ""]
        parts += ["```text", help_text.strip(), "```"]
    return "\n".join(parts) + "\n"


def setup(app):
    """Write the page of commands before Sphinx looks for pages."""
    (Path(__file__).parent / "cli.md").write_text(command_line_page())
