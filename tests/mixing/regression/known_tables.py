"""Tables of runs whose losses follow a known law, as files of a release."""

import numpy as np

DOMAINS, LOSSES = ("train_a", "train_b", "train_c"), ("loss_x", "loss_y")


def law(mixtures, scale):
    """Losses whose ranks follow the share of one domain each, whatever the scale."""
    return scale * np.stack([2 - mixtures[:, 0], np.exp(-2 * mixtures[:, 1])], axis=1)


def write(path, columns, rows):
    lines = [",".join(["index", *columns])]
    lines += [",".join([str(i), *(f"{value:.6f}" for value in row)]) for i, row in enumerate(rows, start=1)]
    path.write_text("\n".join(lines) + "\n")


def known_tables(tmp_path):
    """Tables of four releases whose losses follow `law`: the body of the fixture `folder`."""
    for number, (kind, size) in enumerate((("train", "1m"), ("test", "1m"), ("test", "1B"), ("test", "60m"))):
        mixtures = np.random.default_rng(number).dirichlet(np.ones(3), 80 if kind == "train" else 30)
        write(tmp_path / f"{kind}_mixture_{size}.csv", DOMAINS, mixtures)
        losses = law(mixtures, {"1m": 1.0, "60m": 0.7, "1B": 0.5}[size])
        write(tmp_path / f"{kind}_pile_loss_{size}.csv", LOSSES, losses)
    return tmp_path
