"""Scoring datasets of Ray Data.

    import ray, sslm.ray

    rows = ray.data.read_parquet("s3://bucket/images/")
    scored = sslm.ray.score(rows, "model.sslm", image="photo", concurrency=64)
    scored.write_parquet("s3://bucket/scores/")

A worker that dies is replaced, and what it was at is scored again: rows are neither lost nor doubled. Needs ray and pyarrow.
"""

import os
from collections.abc import Sequence
from typing import Any

from sslm.arrow import Scorer

__all__ = ["Scorer", "score"]

BLOCK = 8
"""Batches of the network that a worker is given at once: so many times `batch` rows are in its memory."""


def score(
    rows: Any,
    model: str | os.PathLike[str] | bytes,
    *,
    image: str = "image",
    keep: Sequence[str] | None = None,
    top: int | None = 1,
    batch: int = 32,
    reproducible: bool = False,
    concurrency: int | tuple[int, int] | None = None,
    **ray: Any,
) -> Any:
    """A `ray.data.Dataset` with results instead of images, as :class:`sslm.arrow.Scorer` says. `concurrency` is how many workers there are, of
    one thread each, or a pair of the fewest and the most; other keywords go to `Dataset.map_batches`.

    `map_batches(sslm.ray.Scorer, fn_constructor_args=("model.sslm",), batch_format="pyarrow", ...)` is the same for those who want to say all
    of it themselves."""
    options = {"image": image, "keep": keep, "top": top, "batch": batch, "reproducible": reproducible}
    file = Scorer(model, **options).file
    return rows.map_batches(
        Scorer,
        fn_constructor_args=(file,),
        fn_constructor_kwargs=options,
        batch_format="pyarrow",
        batch_size=batch * BLOCK,
        concurrency=concurrency or 1,
        **ray,
    )
