"""Scores a checkpoint, or a step of a run, on an environment's items, for judging.

    python -m benchmarks.real_model.judge (--model FOLDER | --run RUN --step K) --warehouse … --dataset … \\
        --environment …

In fp32 whatever the run computed in.
"""

import argparse
import json
from pathlib import Path

import torch

from dmix.mixing.trajectories.encoding import load_tokenizer_file
from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.evaluation.candidates import run_candidates
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.models import load_model
from dmix.training.scoring.environment import Scorer
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


def main() -> None:
    """Command line; prints scores by objective as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("warehouse", "environment"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--dataset", required=True)
    for name in ("model", "run", "step"):
        parser.add_argument(f"--{name}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warehouse = Warehouse.at(arguments.warehouse)
    manifest = read_dataset_manifest(warehouse, arguments.dataset)
    file = warehouse.stream(manifest.dataset) / "tokenizer.json"
    if arguments.run is None:
        model = load_model(arguments.model, manifest, tokenizer_file=file)
    else:
        (candidate,) = run_candidates(warehouse, arguments.run, [arguments.step])
        model = LanguageModel(candidate.load()[0])
    scorer = Scorer(
        load_environment(arguments.environment),
        tokenizer=load_tokenizer_file(file),
        tokenizer_file=manifest.tokenizer,
        max_length=model.max_length,
    )
    scores_D = scorer.scores(model)
    print(json.dumps(dict(zip(scorer.names, scores_D.tolist(), strict=True))))


if __name__ == "__main__":
    main()
