"""Arrivals of leads as typed rows: every event gets an id, a time, an origin and, where it is of no use, a reason."""

from collections.abc import Iterable, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DataType,
    DoubleType,
    IntegerType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from features.contract import Contract, Kind, LeadField
from features.csv_rows import not_one_of, trimmed
from features.csv_values import REASON, judged_rows, moment, sentence
from serving.errors import UNANSWERED

# What every source delivers (serving.sources); `events` takes it.
ARRIVAL_COLUMNS = (
    "value",  # string: the event as JSON
    "key",  # string: the lead's id where the value has none
    "given_id",  # string: event id that came beside the value (a Kafka header)
    "given_time",  # string: event time that came beside the value
    "arrived_at",  # timestamp: Kafka's, or when the file was modified
    "origin",  # string: topic/partition/offset, or the file's URI
    "position",  # long: order among the events of one origin: Kafka's offset, the row of a file
    "file",  # string: the file's name; null for Kafka
    "fault",  # string: why the source could not make a value of it
    "batch_date",  # date (UTC): when the micro-batch or epoch is planned; the same when it is repeated
)
# What `events` adds to the lead's own fields.
EVENT_COLUMNS = ("event_id", "event_time", "origin", "position", "batch_date", "raw", "reason")
EVENT_ID, EVENT_TIME = "event_id", "event_time"
MOST_ID = 256
_CORRUPT = "_corrupt"
_NOT_FINITE = '^"(-?(?:NaN|Infinity))"$'


def events(arrivals: DataFrame, contract: Contract) -> DataFrame:
    """One row per arrival, in a batch or a stream; native expressions only, and no event ends a query.

    `arrivals` has ARRIVAL_COLUMNS. Returns `event_id` (string: the event's own, else topic-partition-offset-time, else
    file name, lead id and hash of the text), `event_time` (timestamp: the event's own, else when it arrived), `origin`,
    `position`, `batch_date`, `raw` (string), `reason` (string; null: the event can be scored), the id and features of
    the contract typed, and its label (null where it is not carried). Keys may be names or source headers of fields;
    unknown keys are passed over. Values are judged as in `features.csv_values`; a lead without any answer is refused.
    """
    # What a later step reads twice stands in a column of a step before: else Spark computes it twice. A step with a
    # lambda or a parser does little else: each of its tasks writes code for all of it anew, while events wait.
    fields = event_fields(contract)
    parsed = arrivals.select("*", *_parsed(F.col("value"), fields))
    texts = parsed.select(
        "*",
        F.array(*_texts(fields)).alias("_given"),
        _is_no_object().alias("_no_object"),
        _own(EVENT_ID).alias("_own_id"),
        _own(EVENT_TIME).alias("_own_time"),
        _values(F.col("value")).alias("_values"),
    )
    nulls = [word.strip() for word in contract.nulls]
    answers = texts.select("*", _answers(nulls).alias("_answers"), _said_time().alias("_said_time"))
    named = answers.select(
        *(_answer(i).alias(field.name) for i, field in enumerate(fields)),
        _event_id().alias(EVENT_ID),
        _event_time().alias(EVENT_TIME),
        *("origin", "position", "batch_date", "_no_object"),
        F.col("value").alias("raw"),
        F.col("fault").alias("_fault"),
        _looks_nested().alias("_looks_nested"),
        _late_faults(fields).alias("_late"),
    )
    rows = judged_rows(named, fields, (Kind.ID, Kind.NUMERIC), (*EVENT_COLUMNS[:-1], "_late"), _shape(fields))
    return rows.select(
        *EVENT_COLUMNS[:-1], F.coalesce(REASON, "_late").alias("reason"), *(field.name for field in fields)
    )


def batch_date() -> Column:
    """The day of the batch, for a source to carry.

    A time of day would be another constant in every micro-batch, and Spark would compile its code anew for each.
    """
    return F.current_date().alias("batch_date")


def event_fields(contract: Contract) -> tuple[LeadField, ...]:
    """The fields that events carry: id, features and label."""
    return (contract.id, *contract.features, contract.label)


def event_schema(contract: Contract) -> StructType:
    """The columns of Parquet files of events: those of prepared leads, event_id and event_time; all may be null."""
    types: dict[Kind, DataType] = {
        Kind.LABEL: IntegerType(),
        Kind.ORDER: DoubleType(),
        Kind.NUMERIC: DoubleType(),
    }
    fields = [StructField(f.name, types.get(f.kind, StringType())) for f in contract.kept]
    return StructType([*fields, StructField(EVENT_ID, StringType()), StructField(EVENT_TIME, TimestampType())])


def _parsed(value: Column, fields: Sequence[LeadField]) -> list[Column]:
    """`_lead0`, `_lead1`, ...: structs of the keys' texts.

    Spark does not tell fields of one struct apart by case: keys that differ in case alone stand in several.
    """
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    return [
        F.from_json(value, StructType([StructField(k, StringType()) for k in (*keys, _CORRUPT)]), options).alias(
            f"_lead{number}"
        )
        for number, keys in enumerate(_groups(fields))
    ]


def _groups(fields: Sequence[LeadField]) -> list[list[str]]:
    """The keys that a field may come under, in groups in which none differs from another in case alone."""
    groups: list[list[str]] = []
    for key in dict.fromkeys([*(k for f in fields for k in (f.name, f.source)), EVENT_ID, EVENT_TIME]):
        free = next((g for g in groups if key.lower() not in {k.lower() for k in g}), None)
        if free is None:
            groups.append(free := [])
        free.append(key)
    return groups


def _texts(fields: Sequence[LeadField]) -> list[Column]:
    """The text of every field, in their order; the id may come as the event's key."""
    place = {key: f"_lead{n}" for n, keys in enumerate(_groups(fields)) for key in keys}

    def text(field: LeadField) -> Column:
        found = [F.col(place[key]).getField(key) for key in dict.fromkeys((field.name, field.source))]
        return F.coalesce(*found, *([F.col("key")] if field.kind is Kind.ID else []))

    return [text(field) for field in fields]


def _answers(nulls: list[str]) -> Column:
    """What is answered, of `_given`: trimmed, null where it is a null word. One expression for all fields."""

    def said(text: Column) -> Column:
        # Spark hands out what is no finite number with quotes.
        bare = F.when(F.startswith(text, F.lit('"')), F.regexp_replace(text, _NOT_FINITE, "$1")).otherwise(text)
        return trimmed(bare)

    return F.transform(F.transform("_given", said), lambda text: not_one_of(nulls, text))


def _answer(number: int) -> Column:
    """What a field holds, by its place."""
    return F.get("_answers", F.lit(number))


def _own(key: str) -> Column:
    """What an event says of itself, else what came beside it; null where that is empty."""
    beside = F.col("given_id" if key == EVENT_ID else "given_time")
    said = F.trim(F.coalesce(F.col("_lead0").getField(key), beside))
    return F.when(said != "", said)


def _event_id() -> Column:
    own = F.when(_usable_id(F.col("_own_id")), F.col("_own_id"))
    answer = _answer(0)
    lead = F.when(F.length(answer) <= MOST_ID, F.replace(answer, F.lit("\0"), F.lit("")))
    text = F.lower(F.hex(F.xxhash64("value")))
    in_file = _bounded(F.concat_ws("/", "file", lead, text))
    # A topic that is made anew begins at offset 0 again: the record's time tells its events from those before.
    in_topic = F.concat_ws("-", F.replace("origin", F.lit("/"), F.lit("-")), F.unix_millis("arrived_at"))
    return F.coalesce(own, F.when(F.col("file").isNotNull(), in_file), in_topic)


def _bounded(event_id: Column) -> Column:
    """An id as it is, or its SHA-256 where it is too long to be given back by a replay."""
    return F.when(F.length(event_id) <= MOST_ID, event_id).otherwise(F.sha2(event_id, 256))


def _usable_id(given: Column) -> Column:
    return (F.length(given) <= MOST_ID) & ~F.contains(given, F.lit("\0"))


def _event_time() -> Column:
    return F.coalesce(F.when(_in_range(F.col("_said_time")), F.col("_said_time")), _arrival())


def _arrival() -> Column:
    """When the event arrived; a clock that is far out counts for nothing, as it would hold back every later score."""
    today = F.col("batch_date").cast("timestamp")
    return F.when(_in_range(F.col("arrived_at")), F.col("arrived_at")).otherwise(today)


def _said_time() -> Column:
    text = F.col("_own_time")
    since_1970 = F.when(text.rlike("^[0-9]{10,15}$"), F.timestamp_millis(text.try_cast("long")))
    return F.coalesce(since_1970, moment(text))


def _in_range(time: Column) -> Column:
    """From 1970 to the end of tomorrow (UTC)."""
    return (time >= F.timestamp_seconds(F.lit(0))) & (time < F.date_add("batch_date", 2).cast("timestamp"))


def _is_no_object() -> Column:
    return F.col(f"_lead0.{_CORRUPT}").isNotNull() | F.col("_lead0").isNull()


def _shape(fields: Sequence[LeadField]) -> Column:
    """What is wrong with an event as a whole, before any value is looked at."""
    raw = F.col("raw")
    return (
        F.when(F.col("_fault").isNotNull(), F.col("_fault"))
        .when(raw.isNull() | (F.trim(raw) == ""), "the event is empty")
        .when(F.col("_no_object"), _not_json(raw))
        .when(F.col("_looks_nested"), _nested(fields))
    )


def _not_json(value: Column) -> Column:
    other = F.ltrim(value).rlike(r"^[\[\"0-9tfn-]") & F.json_array_length(_listed(value)).isNotNull()
    return F.when(other, sentence(F.lit("the event is no JSON object"), value)).otherwise(
        sentence(F.lit("the event is not JSON"), value)
    )


def _looks_nested() -> Column:
    """Whether an answer may be an object or a list, as one text of all of them tells; true for all that are."""
    together = F.concat(F.lit("\0"), F.array_join("_answers", "\0"))
    return F.contains(together, F.lit("\0[")) | F.contains(together, F.lit("\0{"))


def _nested(fields: Sequence[LeadField]) -> Column:
    """The fault of the first text that is an object or a list."""
    names = [field.name for field in fields if field.kind in (Kind.ID, Kind.CATEGORY)]
    texts = [F.struct(F.lit(name).alias("name"), F.col(name).alias("text")) for name in names]
    nested = F.filter(F.array(*texts), lambda s: _is_nested(s["text"]))
    # A sentence names its value several times: outside of a lambda, each time with all that finds it.
    told = F.transform(nested, lambda s: sentence(F.concat(s["name"], F.lit(" is an object or a list")), s["text"]))
    return F.get(told, F.lit(0))


def _is_nested(text: Column) -> Column:
    a_list = F.startswith(text, F.lit("[")) & F.json_array_length(text).isNotNull()
    an_object = F.startswith(text, F.lit("{")) & F.json_object_keys(text).isNotNull()
    return F.coalesce(a_list | an_object, F.lit(False))


def _late_faults(fields: Sequence[LeadField]) -> Column:
    """Faults that tell less than those of the values."""
    asked = [i for i, f in enumerate(fields) if f.kind in (Kind.NUMERIC, Kind.CATEGORY)]
    return F.coalesce(
        F.when(F.col("_values") != 1, "the event is more than one JSON value"),
        F.when(F.col("_values").isNull(), "the event goes on after its JSON object"),
        F.when(~_usable_id(F.col("_own_id")), sentence(F.lit("event_id is of no use"), F.col("_own_id"))),
        F.when(
            F.col("_own_time").isNotNull() & ~F.coalesce(_in_range(F.col("_said_time")), F.lit(False)),
            sentence(F.lit("event_time is no ISO timestamp from 1970 to tomorrow"), F.col("_own_time")),
        ),
        F.when(all_null(_answer(i) for i in asked), UNANSWERED),
    )


def all_null(columns: Iterable[Column]) -> Column:
    """Whether none of the columns holds a value."""
    return F.coalesce(*(c.cast("string") for c in columns), F.lit(None)).isNull()


def _values(value: Column) -> Column:
    """How many JSON values a text holds that begins with an object; null where what follows is none.

    Where the first closing brace is the end there is one, and nothing to parse again.
    """
    end = F.rtrim(value)
    return F.when(F.instr(end, "}") == F.length(end), 1).otherwise(F.json_array_length(_listed(value)))


def _listed(value: Column) -> Column:
    return F.concat(F.lit("["), value, F.lit("]"))
