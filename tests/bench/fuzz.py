"""Ten thousand hostile inputs for the scorer, the parser, tables, thresholds, prompts and shunts around apps.

The command ends with 1 if one of them leads to an error that is not of ours, to an invented label, or to a long wait.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hostile import attack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = attack(Path(folder), given.inputs, seed=given.seed)
    print("\n".join(found))
    print(f"{given.inputs:,} hostile inputs, seed {given.seed}: {len(found)} that must not be")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
