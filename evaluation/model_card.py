"""The model card of a version (Mitchell et al. 2019, "Model Cards for Model Reporting"), and the registry's few lines.

Written from what is on record; a part that is missing is said to be missing.
"""

import shlex
from collections.abc import Mapping
from typing import Any

from evaluation.document import Block, Code, Document, Mark, Section, Table, Text, percent, said, span
from evaluation.model_facts import HEADLINE, WITHOUT_INTERVAL, ModelFacts
from evaluation.part_tables import conversion, grade_blocks, slice_blocks

LONGEST_DESCRIPTION = 4000
SHOWN_SLICES, SHOWN_FIELDS = 12, 10
USE = (
    "Orders new leads by how likely they are to convert, so that the sales team calls the best first. It helps people "
    "to decide whom to call; it is not made to refuse a lead anything, to set a price, or to judge a salesperson. It "
    "holds for leads that come in as those did on which it was trained."
)


def model_card(facts: ModelFacts) -> Document:
    """The whole card."""
    sections = (
        Section("Intended use", (Text(USE), Text(_scored_when(facts)))),
        Section("Data", _data(facts)),
        Section("Fields", _fields(facts)),
        Section("Quality on test leads", _metrics(facts)),
        Section("Grades", grade_blocks(facts)),
        Section("Slices", slice_blocks(facts, SHOWN_SLICES)),
        Section("What the model goes by", _importance(facts)),
        Section("What was refused, and why", _refused(facts)),
        Section("Limits", tuple(Text(limit) for limit in limits(facts))),
        Section("How to make it again", _again(facts)),
    )
    return Document(f"Model card: {facts.called}", _subject(facts), sections, headline(facts))


def headline(facts: ModelFacts) -> str:
    """One line: how good the model is on test leads."""
    ece, leads = facts.metrics.get("test_ece"), facts.metrics.get("test_rows")
    of = f"{leads:,.0f} test leads" if leads else "test leads"
    lift = facts.interval("lift_at_10")
    return f"ROC AUC {facts.interval('auc_roc')} on {of}; calibration error {said(ece)}; lift at 10%: {lift}."


def description(facts: ModelFacts) -> str:
    """What the registry says of a version: Markdown of at most 4,000 letters, the card's essence."""
    lines = [f"**{headline(facts)}**", "", _subject(facts), ""]
    grades = facts.report("grades.json").get("grades", ())
    if grades:
        lines += [f"Conversion by grade: {', '.join(_expected(g) for g in grades if g['leads'])}.", ""]
    lines += [f"Limits: {' '.join(limits(facts))}", ""]
    lines += [f"Late fields: {', '.join(facts.late) or 'none'}. Leak suspects: {_suspected(facts)}.", ""]
    lines += [f"Model card and evaluation report: artifacts of run {facts.run_id} (folder documents)."]
    text = "\n".join(lines)
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[: LONGEST_DESCRIPTION - 2]} …"


def limits(facts: ModelFacts) -> list[str]:
    """What to keep in mind, from the numbers; always at least the split's own."""
    found = []
    if facts.late:
        found.append(f"It uses fields known too late to score a new lead: {', '.join(facts.late)}.")
    ece = facts.metrics.get("test_ece")
    if ece is None or ece > 0.05:
        found.append(f"Its scores are not to be read as rates of conversion (calibration error {said(ece)}).")
    if facts.report("grades.json") and not facts.report("grades.json").get("monotone", False):
        found.append("On the test leads a better grade does not always convert more often.")
    small = [s for s in facts.report("slices.json").get("slices", ()) if s["small"]]
    if small:
        found.append(f"Slices with too few leads to say how it does on them: {len(small)}.")
    split = facts.tags.get("split", "")
    if split != "newest":
        found.append(
            f"The test leads were chosen by the split '{split or 'unknown'}', not as the newest: how it fares as "
            "leads change over time is not measured here."
        )
    if facts.missing:
        found.append(f"Not on record: {', '.join(facts.missing)}.")
    return found or ["None beyond those of its data: leads like the test leads, from the same sources."]


def metric_table(facts: ModelFacts) -> Table:
    """Test metrics, with their intervals where they have one."""
    rows = [(words, facts.interval(name)) for name, words in HEADLINE.items()]
    rows += [(words, said(facts.metrics.get(f"test_{name}"))) for name, words in WITHOUT_INTERVAL.items()]
    before = facts.metrics.get("test_ece_uncalibrated")
    if before is not None:
        rows.append(("the same before calibration", said(before)))
    return Table(("measure", "test leads (95% interval)"), tuple(rows), numbers=(1,))


def importance_table(facts: ModelFacts, most: int) -> Table | None:
    """The first fields by what shuffling them costs, with its interval; None where that is not on record."""
    found = facts.report("importance.json").get("fields", ())
    rows = tuple((f["field"], span(f["auc_loss"], 4, "+"), percent(f["impurity_share"])) for f in found[:most])
    head = ("field", "AUC lost when its values are shuffled (95% interval)", "share of impurity")
    return Table(head, rows, numbers=(1, 2)) if rows else None


def leak_table(facts: ModelFacts) -> Block:
    """Every suspect of the leak probe, or that there is none, or no report."""
    report = facts.report("leakage.json")
    if not report:
        return Text("There is no leak report: whether a field knows the outcome was not probed.", "bad")
    if not report["suspects"]:
        return Text(f"The leak probe looked at {len(report['fields'])} fields and suspects none.")
    rows = tuple((s["field"], s["rule"], s["sentence"], said(s["declared_late"])) for s in report["suspects"])
    return Table(("field", "rule broken", "finding", "declared late"), rows)


def _scored_when(facts: ModelFacts) -> str:
    when = facts.contract.score_at.name.lower()
    return f"Leads are scored at '{when}' (contract {facts.contract.name!r}); what is known later may not be used."


def _subject(facts: ModelFacts) -> str:
    p, t = facts.params, facts.tags
    forest = f"random forest of {p.get('trees', '?')} trees, depth {p.get('depth', '?')}"
    return (
        f"{forest}, calibration {p.get('calibrate', 'unknown')}, feature set '{t.get('feature_set', 'unknown')}' "
        f"({len(facts.features)} fields); run {facts.run_id}"
    )


def _data(facts: ModelFacts) -> tuple[Block, ...]:
    m = facts.manifest
    if not m:
        return (Text("What the leads were is not on record.", "bad"),)
    rates = m.get("conversion_rate", {})
    rows = tuple(
        (side, said(m.get("rows", {}).get(side)), percent(rates.get(side))) for side in ("train", "test", "quarantined")
    )
    hashes = (
        ("contract", f"{facts.contract.name}, {facts.tags.get('contract_hash', '-')}"),
        ("data", facts.tags.get("data_hash", "-")),
        ("code", facts.tags.get("git_commit", "") or "no commit on record"),
        ("split", f"{m.get('split', '-')}, test share {m.get('test_share', '-')}, seed {m.get('seed', '-')}"),
    )
    return (Table(("leads", "rows", "converted"), rows, numbers=(1, 2)), Table(("what", "which"), hashes))


def _fields(facts: ModelFacts) -> tuple[Block, ...]:
    known = {f.name: f for f in facts.contract.features}
    rows = tuple(
        (n, str(f.kind), f.known_at.name.lower(), f.unit or "-") if (f := known.get(n)) else (n, "unknown", "-", "-")
        for n in facts.features
    )
    if not rows:
        return (Text("Which fields it uses is not on record.", "bad"),)
    marks: tuple[Mark, ...] = tuple("bad" if n in facts.late else "" for n in facts.features)
    return (Table(("field", "kind", "known at", "unit"), rows, marks),)


def _metrics(facts: ModelFacts) -> tuple[Block, ...]:
    basis = facts.report("intervals.json")
    if not basis:
        return (metric_table(facts), Text("Intervals are not on record.", "bad"))
    said_basis = (
        f"Intervals: 95%, {basis['resamples']:,} resamples of {basis['groups']:,} groups of repeated leads "
        f"({basis['leads']:,} of {basis['total']:,} test leads)."
    )
    return (metric_table(facts), Text(said_basis))


def _importance(facts: ModelFacts) -> tuple[Block, ...]:
    table = importance_table(facts, SHOWN_FIELDS)
    return (table,) if table else (Text("Importances are not on record.", "bad"),)


def _refused(facts: ModelFacts) -> tuple[Block, ...]:
    kept_out = [f for f in facts.contract.features if f.known_at > facts.contract.score_at and f.name not in facts.late]
    rows = tuple((f.name, f"known at {f.known_at.name.lower()}, after the lead is scored") for f in kept_out)
    blocks: tuple[Block, ...] = (Table(("field not used", "why"), rows),) if rows else ()
    rejected: Mapping[str, Any] = facts.manifest.get("quarantined_for", {})
    if rejected:
        refused = tuple((str(reason), said(count)) for reason, count in rejected.items())
        blocks = (*blocks, Table(("rows not used, for", "rows"), refused, numbers=(1,)))
    else:
        blocks = (*blocks, Text("No row of the CSV was refused by the contract."))
    audit = "Promotion gate: the version's tags gate_result and gate_report name its last audit."
    return (*blocks, leak_table(facts), Text(audit))


def _again(facts: ModelFacts) -> tuple[Block, ...]:
    entry, commit, m = facts.tags.get("entry_point", ""), facts.tags.get("git_commit", ""), facts.manifest
    if not facts.asks:
        return (Text("With which command it was trained is not on record.", "bad"),)
    prepared = {k: m[k] for k in ("split", "test_share", "seed") if k in m}
    # The record also holds what a sweep found; a command takes what it was asked for.
    asked = {name: facts.params[name] for name in facts.asks if name in facts.params}
    lines = [f"git checkout {commit}"] if commit else []
    lines += [
        f"{_command('prepare', prepared)}   # with the same CSV: -P csv=PATH",
        _command(entry, asked),
    ]
    blocks = (Code("\n".join(lines)), Text("The same leads give the data hash above, and the same forest."))
    left = ", ".join(name for name in facts.asks if name not in asked)
    return (*blocks, Text(f"Not on record, so as the command has it: {left}.", "bad")) if left else blocks


def _command(entry: str, given: Mapping[str, Any]) -> str:
    """The line that runs an entry point, as a shell reads it."""
    return " ".join([f"mlflow run . -e {entry}", *(f"-P {k}={shlex.quote(str(v))}" for k, v in given.items())])


def _expected(g: Mapping[str, Any]) -> str:
    return f"{g['grade']} {conversion(g)}"


def _suspected(facts: ModelFacts) -> str:
    report = facts.report("leakage.json")
    if not report:
        return "not probed"
    return ", ".join(dict.fromkeys(s["field"] for s in report["suspects"] if not s["declared_late"])) or "none"
