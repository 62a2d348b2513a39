"""Everything from a CSV to scores in one session on the master that LEADS_MASTER names; its last line is JSON."""

import json
import sys

from evaluation.fitting import Finish
from features.stages import ForestParams
from pipelines.prepare import run_prepare
from pipelines.score import run_score
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.stream import StreamOptions, run_stream
from pipelines.tracking import connect
from pipelines.training import run_train


def main(csv: str) -> None:
    settings = Settings()
    with spark_session(settings, "cluster-test") as spark:
        prepared = run_prepare(spark, settings, csv, stream_files=2)
        forest, finish = ForestParams(trees=3, depth=3), Finish(calibrate="none")
        trained = run_train(spark, settings, "available", forest, finish)
        connect(settings).set_registered_model_alias(settings.model_name, "Production", str(trained.version))
        run_score(spark, settings)
        run_stream(spark, settings, StreamOptions(sink="parquet", available_now=True, max_files_per_trigger=1))
        infos = spark.sparkContext._jsc.sc().statusTracker().getExecutorInfos()
        found = {"data_hash": prepared.manifest["data_hash"], "executors": len(infos) - 1, "version": trained.version}
        tags = connect(settings).get_model_version(settings.model_name, str(trained.version)).tags
    print(json.dumps(found | {"auc": trained.metrics["test_auc_roc"], "compiled": tags["compiled"]}))


if __name__ == "__main__":
    main(sys.argv[1])
