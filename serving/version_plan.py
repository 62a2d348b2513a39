"""What a stream runs of a version, put together in one place, as the gate holds it against the pipeline."""

from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from features.contract import Contract
from serving.compiled.in_spark import Shipped, with_reasons
from serving.events import events
from serving.registry import ResolvedVersion
from serving.scoring import scored_events
from serving.settled_plan import Plan, settled


def version_plan(
    spark: SparkSession,
    arriving: StructType,
    model: PipelineModel,
    version: ResolvedVersion,
    contract: Contract,
    explaining: Shipped | None = None,
) -> Plan:
    """Arrivals (serving.events) of the columns `arriving` to scored events, settled; with reasons by `explaining`."""

    def scores(arrivals: DataFrame) -> DataFrame:
        leads = events(arrivals, contract)
        leads = with_reasons(leads, explaining) if explaining else leads
        return scored_events(leads, model, version, contract)

    return settled(spark, arriving, scores)
