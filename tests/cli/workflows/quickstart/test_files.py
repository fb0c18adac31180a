"""Files of the quickstart: what was not read is listed, held-out items are apart, scales follow roles."""

import json

from dmix.cli.workflows.quickstart.files import Files, hold_out, scaled_environment
from dmix.cli.workflows.start.project_files import environment_text
from dmix.mixing.trajectories.objectives import load_environment


def test_items_are_apart_from_the_text_and_what_was_not_read_is_beside_it(tmp_path):
    for field in ("source", "target"):
        (tmp_path / "in" / field).mkdir(parents=True)
        lines = [json.dumps({"text": f"{field} document {n} " * 5}) for n in range(200)]
        (tmp_path / "in" / field / "a.jsonl").write_text("\n".join([*lines, '{"other": 1}', "{"]) + "\n")
    files = Files(tmp_path / "out")
    hold_out(files, tmp_path / "in", progress=print)
    not_read = (files.data / "source" / "not-read.jsonl").read_text().splitlines()
    assert [json.loads(line)["dmix_reject"]["position"] for line in not_read] == [201, 202]
    kept, feedback, judging = (
        {json.loads(line)["id"] for line in (files.data / name / file).read_text().splitlines()}
        for name, file in (
            ("source", "documents.jsonl"),
            ("items", "source.jsonl"),
            ("judging", "source.jsonl"),
        )
    )
    assert feedback and judging and not feedback & judging and not kept & (feedback | judging)


def test_the_chain_without_a_farm_has_scales_by_role(tmp_path):
    files = Files(tmp_path)
    files.data.mkdir()
    files.environment.write_text(environment_text("feedback", "items") + "scales: {target_text: 1.5}\n")
    found = load_environment(scaled_environment(files))
    assert found.scales == {"source_text": 0.2, "target_text": 1.5}
    assert found.folder == str(files.data)
