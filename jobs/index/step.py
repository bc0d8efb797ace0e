"""Step 4: one segment from the catalog, the pictures and the vectors; every catalog row ends indexed or rejected.

    train -> parts, each by a task of its own -> seal

The segment's id is a digest of everything that it is made from, so a segment that is in the store is not built again.
"""

from __future__ import annotations

from jobs.candidate import Candidate
from jobs.index.parts import run_parts
from jobs.index.seal import run_seal
from jobs.index.train import run_train
from jobs.steps import StepContext, StepResult


def run_index(context: StepContext) -> StepResult[Candidate]:
    """Build the candidate's segment and save the candidate: all of train, parts and seal.

    Raises:
        StepFailed: an earlier step is not complete, or no product has a usable picture, or too many have none.
        EncoderError: the encoder cannot be loaded.
    """
    run_train(context)
    run_parts(context)
    return run_seal(context)
