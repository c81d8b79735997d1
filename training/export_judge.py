"""Writes a checkpoint's trained layers as the weights file that ships: half precision, without the word vectors.

    python -m training.export_judge CHECKPOINT [--output FILE] [--note KEY=VALUE ...]

The word and position vectors stay with the embedded MiniLM; the file holds the six layers, the norm, the two side vectors,
the head and `joint_from`, about 21.7 MB. The sha256 of the training data goes into its metadata.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from grader.judges.entailment import WEIGHTS
from training.judge_data import DATA

FROZEN = {"words.weight", "positions.weight"}


def data_hash(folder: Path) -> str:
    """sha256 over the names and contents of all training data, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.jsonl")):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    parser.add_argument("--joint-from", type=int, default=2)
    parser.add_argument("--note", nargs="*", default=[], help="KEY=VALUE for the metadata")
    arguments = parser.parse_args()
    state = torch.load(arguments.checkpoint, weights_only=True)
    tensors = {name: value.half().contiguous() for name, value in state["reader"].items() if name not in FROZEN}
    tensors["joint_from"] = torch.tensor(arguments.joint_from)
    notes = dict(note.split("=", 1) for note in arguments.note)
    metadata = {"data_sha256": data_hash(DATA), "steps": str(state["step"]), "seconds": f"{state['seconds']:.0f}", **notes}
    save_file(tensors, arguments.output, metadata)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB, {metadata}")


if __name__ == "__main__":
    main()
