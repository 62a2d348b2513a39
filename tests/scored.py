"""Scored events as sinks get them, made by hand."""

from pyspark.sql import DataFrame, SparkSession

SCHEMA = (
    "event_id string, event_time timestamp, origin string, position long, LeadId string, score double, "
    "probability double, prediction int, grade string, model_version int, scored_at timestamp, batch_date date, "
    "Bought int, unknown_categories int, reason string, raw string"
)


def scored_rows(spark: SparkSession, *rows: dict[str, object]) -> DataFrame:
    """A micro-batch; what a row leaves out is that of a lead with the score 90 at noon, scored by version 1."""
    values = []
    for number, row in enumerate(rows):
        lead = {
            "event_id": f"e-{number}",
            "event_time": "2026-03-04 12:00:00",
            "origin": f"leads/0/{number}",
            "position": number,
            "LeadId": f"lead-{number}",
            "score": 90.0,
            "model_version": 1,
            "scored_at": "2026-03-04 12:00:01.234",
            "batch_date": "2026-03-04",
            **row,
        }
        if lead.get("reason"):
            lead["score"] = None
        score = lead["score"]
        lead |= {} if score is None else {"probability": score / 100, "prediction": int(score >= 50)}
        values.append(lead)
    names = [part.split()[0] for part in SCHEMA.split(", ")]
    text = ", ".join(f"{name} string" for name in names)
    made = [tuple(None if row.get(n) is None else str(row[n]) for n in names) for row in values]
    frame = spark.createDataFrame(made, text).coalesce(1)
    return frame.selectExpr(
        *(f"cast({n} as {part.split()[1]}) {n}" for n, part in zip(names, SCHEMA.split(", "), strict=True))
    )
