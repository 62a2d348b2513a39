"""The report of a look at leads: what stands out, then every number with its picture."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from evaluation.exploration import Categories, Exploration, FieldProfile, Numbers, Rate
from evaluation.html import Cell, Column, Facts, Mark, Note, Page, Part, Section, Table, picture, render

RATE_COLUMNS = (
    Column("Leads", ",d"),
    Column("Share", ".1%"),
    Column("Converted", ",d"),
    Column("Rate", ".1%"),
    Column("95% from", ".1%"),
    Column("to", ".1%"),
)
STRONG = 0.5


def page(found: Exploration, figures: Mapping[str, Figure], subject: str) -> str:
    """The report as one HTML page; `figures` by the names that `explore_plots.pictures` gives them."""
    sections = [
        Section("At a glance", _glance(found)),
        Section("Missing answers", [*_shown(figures, "missing", "Share of leads without an answer"), _missing(found)]),
        Section("Conversion over time", [*_shown(figures, "trend", "Conversion rate over time"), _periods(found)]),
        Section("Repeated leads", _repeats(found)),
        Section("Which fields go with the label", _association(found, figures)),
        Section("Categories", [part for c in found.categories for part in _category(found, c, figures)]),
        Section("Numbers", [part for n in found.numbers for part in _number(found, n, figures)]),
        Section("How the file writes its fields", _written(found)),
    ]
    return render(Page("Exploration of the leads", subject, [s for s in sections if s.parts]))


def findings(found: Exploration) -> list[Note]:
    """What stands out, in sentences; warnings are what can mislead a model."""
    notes = []
    by_label = found.association.of_label()
    strong = [name for name in by_label if found.late(name) and by_label[name] >= STRONG]
    if strong:
        told = ", ".join(f"{name} (V {by_label[name]:.2f})" for name in strong)
        notes.append(
            Note(
                f"{told}: these go closely with {found.label} but are known only after {found.score_at}, when "
                "leads are scored. A model that uses them looks better than it can be.",
                "warning",
            )
        )
    if found.repeats.rows:
        notes.append(
            Note(
                f"{found.repeats.rows:,} leads repeat another one in every field but their ids. A random split would "
                "put copies on both sides; the grouped split keeps them together.",
                "warning",
            )
        )
    constant = [p.name for p in found.profiles if p.distinct <= 1]
    constant += [w.name for w in found.written if not w.used and w.constant is not None]
    if constant:
        notes.append(Note(f"The same answer on every lead, so nothing to learn from: {', '.join(constant)}."))
    if len(found.periods) > 1:
        old, new = found.periods[0].rate, found.periods[-1].rate
        notes.append(
            Note(f"Conversion was {_told(old)} in the oldest period and is {_told(new)} in the newest (95% intervals).")
        )
    return notes


def _glance(found: Exploration) -> list[Part]:
    late = [p for p in found.profiles if p.late]
    low, high = found.all.interval or (0.0, 0.0)
    facts = Facts(
        [
            ("Leads", f"{found.all.leads:,}"),
            (f"Converted ({found.label})", f"{found.all.value or 0:.1%}"),
            ("95% interval", f"{low:.1%} to {high:.1%}"),
            ("Fields that may be features", str(len(found.profiles))),
            (f"of them known after {found.score_at}", str(len(late))),
            ("Leads that repeat another", f"{found.repeats.rows:,}"),
        ]
    )
    return [facts, *findings(found)]


def _missing(found: Exploration) -> Table:
    columns = [
        Column("Field"),
        Column("Known at"),
        Column("Kind"),
        Column("Missing", ".1%"),
        Column("Distinct", ",d"),
        Column("Rate if missing", ".1%"),
        Column("Rate if answered", ".1%"),
    ]
    rows: list[list[Cell]] = [
        [p.name, _moment(p), p.kind, p.missing_share, p.distinct, p.missing.value, p.answered.value]
        for p in sorted(found.profiles, key=lambda p: -p.missing_share)
    ]
    return Table(
        columns, rows, f"Marked: known only after {found.score_at}. Distinct values are counted approximately."
    )


def _periods(found: Exploration) -> Table:
    columns = [Column(f"{found.order} from", ",.0f"), Column("to", ",.0f"), *RATE_COLUMNS]
    return Table(columns, [[p.first, p.last, *_rate(p.rate, found.all)] for p in found.periods], "Newest last")


def _repeats(found: Exploration) -> list[Part]:
    held = found.repeats
    facts = [
        ("Leads that repeat another", f"{held.rows:,} ({held.rows / found.all.leads:.1%})"),
        ("Groups of equal leads", f"{held.groups:,}"),
        ("Groups with both labels", f"{held.mixed:,}"),
        ("Largest group", f"{held.largest:,}"),
    ]
    return [
        "Leads are equal here if they agree in every feature field, whatever their ids and their label.",
        Facts(facts),
    ]


def _association(found: Exploration, figures: Mapping[str, Figure]) -> list[Part]:
    moments = {p.name: p for p in found.profiles}
    rows: list[list[Cell]] = [
        [name, _moment(moments[name]), value] for name, value in found.association.of_label().items()
    ]
    table = Table(
        [Column("Field"), Column("Known at"), Column("Cramer's V", ".3f")], rows, "Association with the label"
    )
    return [
        f"Cramer's V, bias-corrected, on {found.association.leads:,} leads: numbers in quarters, rare words together, "
        "missing as a value of its own. It says how much two fields tell of each other, not which causes which.",
        *_shown(figures, "label_association", "Association of every field with the label"),
        *_shown(figures, "field_association", "Association between the fields that go most with the label"),
        table,
    ]


def _category(found: Exploration, field: Categories, figures: Mapping[str, Figure]) -> list[Part]:
    rows: list[list[Cell]] = [[word, *_rate(rate, found.all)] for word, rate in field.words]
    rest = ((Mark("all other words"), field.other), (Mark("missing"), field.missing))
    rows += [[name, *_rate(rate, found.all)] for name, rate in rest if rate.leads]
    table = Table([Column("Answer"), *RATE_COLUMNS], rows, _named(found, field.name))
    return [*_shown(figures, f"category_{field.name}", f"Conversion rate by {field.name}"), table]


def _number(found: Exploration, field: Numbers, figures: Mapping[str, Figure]) -> list[Part]:
    profile = next(p for p in found.profiles if p.name == field.name)
    names = ("Smallest", "25%", "Median", "75%", "99%", "Largest")
    row: list[Cell] = [*profile.quantiles, profile.missing_share]
    columns = [
        *(Column(name, ",.4g" if abs(v) < 1000 else ",.0f") for name, v in zip(names, profile.quantiles, strict=True))
    ]
    table = Table([*columns, Column("Missing", ".1%")], [row], _named(found, field.name))
    return [*_shown(figures, f"number_{field.name}", f"Distribution of {field.name} and conversion rate by it"), table]


def _written(found: Exploration) -> list[Part]:
    if not found.written:
        return [
            Note(
                "Null words such as 'Select' and columns that the contract ignores are told of a CSV only: "
                "mlflow run . -e explore -P csv=PATH."
            )
        ]
    columns = [Column("Field"), Column("Empty", ".1%"), Column("Null word", ".1%"), Column("Only word"), Column("Use")]
    rows: list[list[Cell]] = [
        [w.name, w.empty / w.rows, w.null_words / w.rows, w.constant, "may be a feature" if w.used else "ignored"]
        for w in sorted(found.written, key=lambda w: (w.used, -w.null_words))
    ]
    told = f"Of {found.written[0].rows:,} rows of the file; null words are those of the contract, such as 'Select'"
    return [Table(columns, rows, told)]


def _shown(figures: Mapping[str, Figure], name: str, alt: str) -> list[Part]:
    return [picture(figures[name], alt)] if name in figures else []


def _named(found: Exploration, name: str) -> str:
    profile = next(p for p in found.profiles if p.name == name)
    when = f"known at {profile.known_at}" + (", after leads are scored" if profile.late else "")
    return f"{name} ({profile.source}), {when}"


def _moment(profile: FieldProfile) -> Cell:
    return Mark(profile.known_at) if profile.late else profile.known_at


def _rate(rate: Rate, every: Rate) -> list[Cell]:
    low, high = rate.interval or (None, None)
    return [rate.leads, rate.leads / every.leads, rate.converted, rate.value, low, high]


def _told(rate: Rate) -> str:
    low, high = rate.interval or (0.0, 0.0)
    return f"{rate.value or 0:.1%} ({low:.1%} to {high:.1%})"
