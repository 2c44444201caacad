"""Scoring data frames of Spark.

    import sslm.spark

    rows = spark.read.parquet("s3://bucket/images/")
    scored = sslm.spark.score(rows, "model.sslm", image="photo", keep=["id"])
    scored.write.parquet("s3://bucket/scores/")

A task that is lost runs again: rows are neither lost nor doubled. How many rows a worker has in memory at once is said by Spark's
`spark.sql.execution.arrow.maxRecordsPerBatch`, which is 10 000: for large images, say less. Needs pyspark and pyarrow.
"""

import os
from collections.abc import Sequence
from typing import Any

from sslm.arrow import Scorer

__all__ = ["Scorer", "score"]


def score(
    rows: Any,
    model: str | os.PathLike[str] | bytes,
    *,
    image: str = "image",
    keep: Sequence[str] | None = None,
    top: int | None = 1,
    batch: int = 32,
    reproducible: bool = False,
) -> Any:
    """A `pyspark.sql.DataFrame` with results instead of images, as :class:`sslm.arrow.Scorer` says, by `DataFrame.mapInArrow`. Each of Spark's
    Python workers opens the model once and computes on one thread."""
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    scorer = Scorer(model, image=image, keep=keep, top=top, batch=batch, reproducible=reproducible)
    # Only what is wanted goes to the workers.
    columns = rows.columns if keep is None else [*keep, image]
    rows = rows.select(*dict.fromkeys(columns))
    return rows.mapInArrow(scorer.batches, from_arrow_schema(scorer.schema(to_arrow_schema(rows.schema))))
