"""Show one output in Jupyter, VS Code or Colab; print its text elsewhere."""

import sys

__all__ = ["display"]


def display(data: dict[str, str], metadata: dict | None = None) -> None:
    """Display a MIME bundle as one output, or print its `text/plain` where no notebook listens.

    IPython is only looked up, never imported: where it is not loaded there is nothing to show a
    picture in, and a bare GPU machine may not have it.
    """
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    if shell:
        shell.display_pub.publish(data, metadata or {})
    else:
        print(data["text/plain"])
