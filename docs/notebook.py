"""Run the notebooks of `docs/` and write what their cells print and draw into them:

python docs/notebook.py

No Jupyter is needed: the cells are Python, but for the line `%matplotlib inline`, which tells
Jupyter to show figures.
"""

import ast
import base64
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).parent
MAGIC = "%matplotlib inline\n"


def run(notebook: dict[str, Any]) -> None:
    """Run the code cells in order, in one namespace, and put their outputs in place."""
    names: dict[str, Any] = {}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(code, 1):
        printed = io.StringIO()
        with redirect_stdout(printed):
            value = run_cell("".join(cell["source"]).removeprefix(MAGIC), names)
        cell["outputs"] = []
        if text := printed.getvalue():
            lines = text.splitlines(keepends=True)
            cell["outputs"].append({"name": "stdout", "output_type": "stream", "text": lines})
        if isinstance(value, Figure):
            data = {"image/png": drawn(value), "text/plain": [value.get_suptitle()]}
            shown = {"data": data, "metadata": {}, "output_type": "execute_result"}
            cell["outputs"].append(shown | {"execution_count": count})
        cell["execution_count"] = count


def run_cell(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, if that is an expression."""
    tree = ast.parse(code)
    names["_"] = None
    if isinstance(last := tree.body[-1], ast.Expr):
        tree.body[-1] = ast.Assign([ast.Name("_", ast.Store())], last.value)
    exec(compile(ast.fix_missing_locations(tree), "cell", "exec"), names)
    return names["_"]


def drawn(figure: Figure) -> str:
    """A figure as PNG, in base64."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
    return base64.b64encode(png.getvalue()).decode()


def main() -> None:
    for path in sorted(DOCS.glob("*.ipynb")):
        notebook = json.loads(path.read_text())
        run(notebook)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        print(f"wrote {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
