"""Ray and Spark on this machine, in several processes of which one is killed midway: rows are neither lost nor doubled, and results are those
of an undisturbed run, byte for byte."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_arrow import digits

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.slow

ROWS = 40_000


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder of Parquet files."""
    folder = tmp_path_factory.mktemp("images")
    rows = digits(ROWS, 1000)
    for i in range(20):
        pq.write_table(rows.slice(i * ROWS // 20, ROWS // 20), folder / f"{i:02}.parquet")
    return folder


def in_order(table: "pa.Table") -> bytes:
    """All rows by their ids, as bytes."""
    assert table.num_rows == ROWS, "nothing is lost or doubled"
    ids = table.column("id").to_pylist()
    assert len(set(ids)) == ROWS
    table = table.take(np.argsort(ids)).combine_chunks().replace_schema_metadata()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def processes(title: str) -> list[int]:
    """The processes of this user whose command line holds what `title` matches."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and re.search(title, (folder / "cmdline").read_bytes().decode(errors="replace")):
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def test_ray(lenet, images, tmp_path):
    ray = pytest.importorskip("ray")
    import sslm.ray

    before = set(processes("ray::"))
    ray.init(num_cpus=3, include_dashboard=False, configure_logging=False, object_store_memory=200 << 20)
    try:

        def scored(name: str, kill: bool) -> bytes:
            # Small files would become one block.
            rows = ray.data.from_arrow([pq.read_table(file) for file in sorted(images.iterdir())])
            rows = sslm.ray.score(rows, lenet / "lenet.sslm", concurrency=2)
            killed, left = [], []

            def kill_workers() -> None:
                # When some of the results are there, and more are to come: at least one of the workers is at these.
                while not list((tmp_path / name).glob("*.parquet")):
                    time.sleep(0.005)
                for worker in set(processes(r"ray::MapWorker\(MapBatches\(Scorer\)")) - before:
                    os.kill(worker, signal.SIGKILL)
                    killed.append(worker)
                left.append(len(list((tmp_path / name).glob("*.parquet"))))

            killer = threading.Thread(target=kill_workers) if kill else None
            if killer:
                killer.start()
            rows.write_parquet(str(tmp_path / name))
            if killer:
                killer.join()
                files = len(list((tmp_path / name).glob("*.parquet")))
                assert killed and left[0] < files, f"{len(killed)} workers were killed when {left} of {files} files were there"
            return in_order(pq.read_table(tmp_path / name))

        undisturbed = scored("undisturbed", kill=False)
        assert scored("killed", kill=True) == undisturbed
        table = pq.read_table(tmp_path / "killed")
        assert table.column("error").null_count == ROWS - sum(i % 23 in (5, 9) for i in range(ROWS))
    finally:
        ray.shutdown()


def test_spark(lenet, images, tmp_path, monkeypatch):
    pyspark = pytest.importorskip("pyspark")
    import sys

    import sslm.spark
    from pyspark.sql import SparkSession

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_HOME", str(Path(pyspark.__file__).parent))
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("sslm")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
        "spark.sql.files.maxPartitionBytes": "256k",
        "spark.sql.files.openCostInBytes": "256k",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:

        def scored(name: str, kill: bool) -> bytes:
            rows = sslm.spark.score(spark.read.parquet(str(images)), lenet / "lenet.sslm", keep=["id"])
            killed = []

            def kill_an_executor() -> None:
                tracker = spark.sparkContext.statusTracker()
                done = lambda: [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
                while not any(stage and 0 < stage.numCompletedTasks < stage.numTasks for stage in done()):
                    time.sleep(0.005)
                executors = processes("CoarseGrainedExecutorBackend")
                os.kill(executors[0], signal.SIGKILL)
                killed.append(executors[0])

            killer = threading.Thread(target=kill_an_executor, daemon=True) if kill else None
            if killer:
                killer.start()
            rows.write.parquet(str(tmp_path / name))
            if killer:
                killer.join(1)
                assert killed
            return in_order(pq.read_table(tmp_path / name))

        undisturbed = scored("undisturbed", kill=False)
        assert scored("killed", kill=True) == undisturbed
    finally:
        spark.stop()
