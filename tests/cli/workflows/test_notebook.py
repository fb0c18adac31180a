"""The notebook of the examples runs, and its last expressions show themselves."""

import ast
import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[3] / "docs" / "examples" / "session.ipynb"


def run_cell(source, names):
    """The value of a cell's last expression, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_every_cell_of_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, shown = {}, []
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            shown.append(run_cell("".join(cell["source"]), names))
    assert len(shown) == 6
    assert all("<table" in value._repr_html_() for value in shown[1:])
    assert names["dataset"].value.kept_out
    assert names["effects"].value.effects.estimator == "counts"
