"""Exact mixing under Hugging Face's Trainer: its checkpoints also contain the state of the loader.

    python docs/examples/hf_trainer.py --warehouse warehouse --model FOLDER --out out --batches 40
    python docs/examples/hf_trainer.py … --batches 80 --resume      resumes at batch 41

Needs the packages `transformers` and `accelerate`. Under torchrun every rank gets its slice.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from dmix import DomainSpace, MixedDataset, MixedLoader, PlanSettings, Warehouse, read_dataset_manifest
from dmix.warehouse_schema.files.layout import publish_json

STATE_FILE = "mixture.json"


def mixture(space: DomainSpace, *, step: int) -> np.ndarray:
    """Your rule. This one moves from natural shares to the target field over ten steps."""
    share = min(1.0, step / 10)
    return (1 - share) * space.natural_N + share * space.target_state_N


class StepBatches:
    """The batches of a run, step after step, as an iterable without a length."""

    def __init__(self, loader: MixedLoader, space: DomainSpace) -> None:
        self.loader, self.space = loader, space

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        while not self.loader.finished:
            if not self.loader.in_step:  # a resume may start in the middle of a step
                self.loader.begin_step(mixture(self.space, step=self.loader.state.step + 1))
            for batch in self.loader:
                yield {"input_ids": batch["input_ids"], "labels": batch["labels"]}


class MixtureState(TrainerCallback):
    """Puts the state of the loader into every checkpoint, and writes one where the data end."""

    def __init__(self, loader: MixedLoader) -> None:
        self.loader = loader

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        if self.loader.finished:  # the data ended between two checkpoints
            control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        saved = self.loader.state_dict()  # on every rank: they compare what they consumed
        if state.is_world_process_zero:
            publish_json(Path(args.output_dir, f"checkpoint-{state.global_step}", STATE_FILE), saved)


class MixedTrainer(Trainer):
    """A Trainer that reads its batches from a `StepBatches`."""

    def __init__(self, *, batches: StepBatches, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.batches = batches

    def get_train_dataloader(self) -> Any:
        """The batches as they are.

        Accelerate would wrap a DataLoader in one that reads a batch ahead, which would count as
        consumed before it is trained on, and cut batches into slices that are already cut.
        """
        return self.batches


def newest_checkpoint(out: Path) -> Path | None:
    """The newest checkpoint that a kill did not cut short: the loader's state is written last."""
    whole = [path.parent for path in out.glob(f"checkpoint-*/{STATE_FILE}")]
    return max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)


def main() -> None:
    """Trains until the data or --batches end, and saves its state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--dataset", help="id or name; default: the only dataset")
    parser.add_argument("--model", required=True, help="checkpoint folder or hub id")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=100, help="global batches of the whole run")
    parser.add_argument("--save-every", type=int, default=10, help="batches between two checkpoints")
    parser.add_argument("--step-samples", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8, help="over all ranks")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    trained = TrainingArguments(  # first: it joins the ranks that torchrun started
        output_dir=str(arguments.out),
        max_steps=arguments.batches,
        save_steps=arguments.save_every,
        ignore_data_skip=True,  # the loader resumes from its own state
        use_cpu=not torch.cuda.is_available(),
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        report_to=[],
        disable_tqdm=True,
    )
    if trained.use_cpu and trained.world_size > 1:
        # There the Trainer loads optimiser states onto "cpu:0", which torch.load has no rule for.
        torch.serialization.register_package(
            0, lambda _: None, lambda storage, device: storage if device == "cpu:0" else None
        )
    warehouse = Warehouse.at(arguments.warehouse)
    manifest = read_dataset_manifest(warehouse, arguments.dataset)
    settings = PlanSettings(step_samples=arguments.step_samples, batch_size=arguments.batch_size)
    checkpoint = newest_checkpoint(arguments.out) if arguments.resume else None
    with MixedDataset(manifest, warehouse.stream(manifest.dataset)) as dataset:
        loader = MixedLoader(dataset, settings=settings)
        if checkpoint is not None:
            loader.load_state_dict(json.loads((checkpoint / STATE_FILE).read_text()))
        trainer = MixedTrainer(
            batches=StepBatches(loader, DomainSpace.of_dataset(manifest)),
            model=AutoModelForCausalLM.from_pretrained(arguments.model),
            args=trained,
            callbacks=[MixtureState(loader)],
        )
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        trainer.save_model()  # into --out
    if trainer.is_world_process_zero():
        print(json.dumps({"steps": loader.state.step, "finished": loader.finished, "chain": loader.chain}))


if __name__ == "__main__":
    main()
