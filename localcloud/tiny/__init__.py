# SPDX-License-Identifier: GPL-3.0-or-later
"""Models and a data set small enough to train on a laptop, made on the spot and the same every time."""

from .questions import rows, sample_answer, sample_question
from .seed import seed_hub

__all__ = ["rows", "sample_answer", "sample_question", "seed_hub"]
