"""The scoring plan: leads in, one row per lead out, the same for a batch and for a stream."""

import difflib
from collections.abc import Collection, Mapping, Sequence

from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.classification import RandomForestClassificationModel
from pyspark.ml.feature import StringIndexerModel, VectorAssembler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    CharType,
    DataType,
    IntegralType,
    NullType,
    NumericType,
    StringType,
    StructType,
    VarcharType,
)

from features.blanks import BLANKS
from features.contract import Contract, Kind
from features.stages import GRADE, served_probability
from serving.code_splits import with_compared_codes
from serving.errors import UNANSWERED, ServingError
from serving.events import all_null
from serving.registry import ResolvedVersion
from serving.slots import slots
from serving.stages import columns_of, flat

READS = ("inputCol", "inputCols", "featuresCol")
WRITES = ("outputCol", "outputCols", "predictionCol", "probabilityCol", "rawPredictionCol", "leafCol")
# Of `scored_events`, in order; the contract's id and label stand among them.
SCORED_COLUMNS = (
    "event_id",
    "event_time",
    "origin",
    "position",
    "score",
    "probability",
    "prediction",
    "grade",
    "model_version",
    "scored_at",
    "batch_date",
    "unknown_categories",
    "reason",
    "raw",
)
NO_SCORE = "the model gave no probability"


class UnfitLeads(ServingError):
    """Leads lack columns that the model takes, or carry them in a type that does not fit the contract."""


def scored(leads: DataFrame, model: PipelineModel, version: ResolvedVersion, contract: Contract) -> DataFrame:
    """One row per lead, for a batch or a streaming DataFrame; nothing runs until the result is read.

    Columns: the contract's id (string), `score` (double, 0-100, one decimal), `probability` (double, of label 1;
    calibrated where the model is), `prediction` (int, 0 or 1), `grade` (string, null where the model gives none),
    `model_version` (int), `scored_at` (timestamp: when the query or micro-batch began) and the contract's label
    where `leads` carry it. UnfitLeads names every missing or ill-typed column.
    """
    features = typed_features(leads.schema, input_columns(model), contract, trim=True)
    label = [contract.label.name] if contract.label.name in leads.columns else []
    lead = F.col(contract.id.name).cast("string").alias(contract.id.name)
    # Only what is needed goes in: a column named like one of the model's own would end the query.
    predicted = transformed(model, leads.select(lead, *label, *features))
    probability = served_probability(predicted.columns)
    return predicted.select(
        contract.id.name,
        F.round(probability * 100, 1).alias("score"),
        probability.alias("probability"),
        (probability >= 0.5).cast("int").alias("prediction"),
        _grade(predicted.columns).alias("grade"),
        F.lit(version.version).cast("int").alias("model_version"),
        F.current_timestamp().alias("scored_at"),
        *label,
    )


def scored_events(events: DataFrame, model: PipelineModel, version: ResolvedVersion, contract: Contract) -> DataFrame:
    """Events (serving.events) with their scores, and the refused ones beside them, in one plan; for a stream too.

    Columns: SCORED_COLUMNS with the contract's id after `position` and its label after `batch_date`. The values of
    a refused event are null from `score` to `grade`, and so is `raw` of a scored one. `unknown_categories` counts
    answers that the model has not seen. `scored_at` is the wall clock at that row; `batch_date` (UTC) is the day
    when the micro-batch was planned, the same when the batch is repeated. Where events carry `reasons`, it stands after
    `unknown_categories`. UnfitLeads as in `scored`.
    """
    names = input_columns(model)
    features = typed_features(events.schema, names, contract)
    told = ["reasons"] if "reasons" in events.columns else []
    carried = ["event_id", "event_time", "origin", "position", contract.id.name]
    carried += ["batch_date", contract.label.name, "raw", *told]
    reason = F.coalesce("reason", F.when(all_null([F.col(n) for n in names]), UNANSWERED)).alias("reason")
    predicted = transformed(model, events.select(*carried, reason, *features))
    served = F.col("_served")
    finite = served.isNotNull() & ~F.isnan(served) & served.between(0, 1)
    judged = predicted.select("*", served_probability(predicted.columns).alias("_served")).select(
        *carried,
        F.coalesce("reason", F.when(~finite, NO_SCORE)).alias("reason"),
        served.alias("probability"),
        _grade(predicted.columns).alias("grade"),
        _unknown_categories(model, predicted.columns).alias("unknown_categories"),
    )
    good = F.col("reason").isNull()
    probability = F.when(good, F.col("probability"))
    return judged.select(
        *carried[:5],
        F.round(probability * 100, 1).alias("score"),
        probability.alias("probability"),
        (probability >= 0.5).cast("int").alias("prediction"),
        F.when(good, F.col("grade")).alias("grade"),
        F.lit(version.version).cast("int").alias("model_version"),
        wall_clock().alias("scored_at"),
        "batch_date",
        contract.label.name,
        F.when(good, F.col("unknown_categories")).otherwise(0).alias("unknown_categories"),
        *(F.when(good, F.col(name)).alias(name) for name in told),
        "reason",
        F.when(~good, F.col("raw")).alias("raw"),
    )


def transformed(model: PipelineModel, leads: DataFrame) -> DataFrame:
    """What `model.transform` gives, its assembled vectors dense.

    The forest asks for a slot of it at every node, some thousand times a lead: a sparse vector searches for each, and
    a split on a code looks into a set.
    """
    stages, codes = flat(model), dict[str, Sequence[int]]()
    for place, stage in enumerate(stages):
        if isinstance(stage, VectorAssembler):
            name = stage.getOutputCol()
            made = slots(stage, stages[:place], leads.schema)
            if made:
                dense, codes[name] = made.array, made.codes
            else:
                leads = stage.transform(leads)
                dense = vector_to_array(F.col(name))
            leads = leads.withColumn(name, array_to_vector(dense))
        elif isinstance(stage, RandomForestClassificationModel):
            compared = with_compared_codes(leads.sparkSession, stage, codes.get(stage.getFeaturesCol(), ()))
            leads = compared.transform(leads)
        else:
            leads = stage.transform(leads)
    return leads


def wall_clock() -> Column:
    """The time at which a row is computed, in whole milliseconds; current_timestamp stands still within a batch."""
    return F.timestamp_millis(F.reflect(F.lit("java.lang.System"), F.lit("currentTimeMillis")).cast("long"))


def _grade(columns: Sequence[str]) -> Column:
    """The grade, null where the model gives none."""
    return F.col(GRADE) if GRADE in columns else F.lit(None).cast("string")


def _unknown_categories(model: PipelineModel, columns: Sequence[str]) -> Column:
    """How many categories of a row were answered with a word that the model's indexers have not seen."""
    seen = [
        (name, index, len(labels))
        for stage in flat(model)
        if isinstance(stage, StringIndexerModel)
        for name, index, labels in zip(
            columns_of(stage, "input"), columns_of(stage, "output"), stage.labelsArray, strict=True
        )
        if index in columns
    ]
    unseen = F.array(*(F.col(name).isNotNull() & (F.col(index) >= count) for name, index, count in seen))
    return F.size(F.array_remove(unseen, False)) if seen else F.lit(0)


def input_columns(model: PipelineModel) -> tuple[str, ...]:
    """Columns that a fitted pipeline takes from outside: those read by a stage and written by none before it."""
    read: dict[str, None] = {}
    written: set[str] = set()
    for stage in flat(model):
        read.update(dict.fromkeys(name for name in _columns(stage, READS) if name not in written))
        written.update(_columns(stage, WRITES))
    return tuple(read)


def _columns(stage: Transformer, params: Sequence[str]) -> list[str]:
    values = [stage.getOrDefault(p) for p in params if stage.hasParam(p) and stage.isDefined(p)]
    return [name for value in values for name in ([value] if isinstance(value, str) else value) if name]


def typed_features(schema: StructType, names: Sequence[str], contract: Contract, trim: bool = False) -> list[Column]:
    """The model's input columns, cast to what the contract's kinds mean: numeric double, category string.

    With `trim` strings lose the blanks around them; events have none, and the compiled scorer sees to them itself.
    UnfitLeads names every missing column and every one, the id's included, of a type that does not fit.
    """
    found = {field.name: field.dataType for field in schema.fields}
    missing = [name for name in (contract.id.name, *names) if name not in found]
    if missing:
        raise UnfitLeads(
            f"the leads lack {', '.join(missing)}, which the model and the contract {contract.name!r} need."
            f"{_suggestions(missing, list(found))} Rename the columns, prepare the leads by the contract, "
            "or serve a version of another feature set."
        )
    numeric = {f.name for f in contract.fields if f.kind in (Kind.NUMERIC, Kind.ORDER)}
    wrong = {
        name: found[name].simpleString()
        for name in (contract.id.name, *names)
        if not _fits(found[name], name in numeric)
    }
    if wrong:
        raise UnfitLeads(wrong_types(wrong, numeric, contract))
    return [
        F.col(name).cast("double").alias(name) if name in numeric else _text(name, trim).alias(name) for name in names
    ]


def _text(name: str, trim: bool) -> Column:
    text = F.col(name).cast("string")
    return F.trim(text, F.lit(BLANKS)) if trim else text


def wrong_types(found: Mapping[str, str], numeric: Collection[str], contract: Contract) -> str:
    """What is said of columns whose types do not fit the contract, by name."""
    told = "; ".join(
        f"{n} is {kind}, expected {'a number' if n in numeric else 'a string'}" for n, kind in found.items()
    )
    return (
        f"the leads have columns of a wrong type: {told}. Cast them, or prepare the leads by the contract "
        f"{contract.name!r}."
    )


def _fits(found: DataType, numeric: bool) -> bool:
    # Text is never read as a number, nor a decimal as text: "abc" would end the query, 1.0 and "1" would not match, and
    # an id of 1e7 has one text in Spark and another in Arrow.
    if numeric:
        return isinstance(found, NumericType | NullType)
    return isinstance(found, StringType | CharType | VarcharType | IntegralType | NullType)


def _suggestions(missing: Sequence[str], found: Sequence[str]) -> str:
    near = {name: difflib.get_close_matches(name, found, n=1) for name in missing}
    said = [f"{match[0]} for {name}" for name, match in near.items() if match]
    return f" Closest columns found: {', '.join(said)}." if said else ""
