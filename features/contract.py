"""The lead contract: a YAML file that says what every field of a lead is, as frozen pydantic models."""

import hashlib
import json
import math
from enum import IntEnum, StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from features.errors import FeaturesError

AVAILABLE = "available"
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
# Columns that splits, models and scores add beside the lead's own.
RESERVED = frozenset(
    [
        "features",
        "rawprediction",
        "probability",
        "prediction",
        "calibrated",
        "uncalibrated",
        "calibration_weight",
        "grade",
        "grade_index",
        "score",
        "model_version",
        "scored_at",
        "lead_group",
        "fold",
        "event_id",
        "event_time",
        "origin",
        "position",
        "raw",
        "reason",
        "reasons",
        "batch_date",
        "unknown_categories",
    ]
)


class UnknownFeatureSet(FeaturesError):
    """A feature set was asked for that the contract does not name."""


class Kind(StrEnum):
    """What a field is used for."""

    ID = "id"
    LABEL = "label"
    ORDER = "order"
    NUMERIC = "numeric"
    CATEGORY = "category"
    IGNORED = "ignored"


class KnownAt(IntEnum):
    """The moment in a lead's life from which a field can be trusted to be filled in; later is larger."""

    CAPTURE = 0
    BROWSING = 1
    CONTACT = 2
    OUTCOME = 3

    @classmethod
    def parse(cls, word: object) -> "KnownAt":
        """Turn a word of the contract into a moment; ValueError names the words that exist."""
        if isinstance(word, KnownAt):
            return word
        try:
            return cls[str(word).upper()]
        except KeyError:
            raise ValueError(f"{word!r} is none of {', '.join(k.name.lower() for k in cls)}") from None


Moment = Annotated[KnownAt, BeforeValidator(KnownAt.parse)]


class _Strict(BaseModel, frozen=True, extra="forbid"):
    """Base of the contract's parts: immutable, and unknown keys are refused."""


class CsvFormat(_Strict, frozen=True):
    """How the CSV is written."""

    delimiter: str = Field(",", min_length=1, max_length=1, description="character between two values")
    quote: str = Field('"', min_length=1, max_length=1, description="character around a value that holds a delimiter")
    encoding: str = Field("UTF-8", min_length=1, description="character set, as Java names it")
    multiline: bool = Field(False, description="true where quoted values hold line breaks; such files do not split")

    @model_validator(mode="after")
    def _tells_values_apart(self) -> Self:
        if self.delimiter == self.quote or {self.delimiter, self.quote} & {"\n", "\r"}:
            raise ValueError("delimiter and quote must be two characters, and no line breaks")
        return self


class Limits(_Strict, frozen=True):
    """Smallest and largest value that a numeric field may have, both included."""

    min: float = Field(-math.inf, description="smallest value")
    max: float = Field(math.inf, description="largest value")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class LeadField(_Strict, frozen=True):
    """One field of a lead."""

    name: str = Field(pattern=NAME_PATTERN, description="name of the column in parquet, models and scores")
    source: str = Field(min_length=1, description="header of the CSV column it is read from")
    kind: Kind = Field(description="id, label, order, numeric, category or ignored")
    known_at: Moment = Field(description="capture < browsing < contact < outcome")
    unit: str = Field("", description="unit of a numeric field, for plots and reasons")
    limits: Limits | None = Field(None, description="range of a numeric field; a row outside it is quarantined")
    buckets: tuple[float, ...] = Field((), description="ascending edges; the field then enters models as a bucket")
    thousands: str = Field("", max_length=1, description="separator to strip from numbers such as 1,234; none: refused")
    max_length: int = Field(256, ge=1, description="longest text of an id or category; a longer one is quarantined")
    true_words: tuple[str, ...] = Field(("1", "1.0"), description="words of a label that mean converted")
    false_words: tuple[str, ...] = Field(("0", "0.0"), description="words of a label that mean not converted")
    protected: bool = Field(False, description="true where leads must not be treated differently by this field")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind is not Kind.NUMERIC and (self.limits or self.buckets or self.thousands):
            raise ValueError(f"{self.name} is {self.kind}: limits, buckets and thousands belong to numeric fields")
        if list(self.buckets) != sorted(set(self.buckets)) or len(self.buckets) in (1, 2):
            raise ValueError(f"buckets of {self.name} must be three or more ascending edges")
        if set(self.true_words) & set(self.false_words) or not (self.true_words and self.false_words):
            raise ValueError(f"true_words and false_words of {self.name} must hold words, and none in common")
        if self.thousands not in ("", ",", ".", " ", "'"):
            raise ValueError(f"thousands of {self.name} must be a comma, a point, a space or an apostrophe")
        if self.name.lower() in RESERVED:
            raise ValueError(f"{self.name} is the name of a column that models and scores add; choose another name")
        if self.protected and not self.has_slices:
            raise ValueError(
                f"{self.name} is protected and must be a category, or numeric with buckets, to be sliced by"
            )
        if "__" in self.name:
            raise ValueError(f"{self.name} holds two underscores in a row, which models put behind the names of fields")
        return self

    @property
    def has_slices(self) -> bool:
        """Whether leads fall into few groups by this field: a category, or a number in buckets."""
        return self.kind is Kind.CATEGORY or bool(self.buckets)


class Contract(_Strict, frozen=True):
    """Everything the project knows of one kind of lead.

    Exactly one id, one label and one order field; names and sources are unique; feature sets name
    numeric and category fields only. `score_at` bounds what a promoted model may look at.
    """

    name: str = Field(min_length=1, description="what these leads are called in runs and reports")
    score_at: Moment = Field(description="when leads are scored")
    csv: CsvFormat = Field(CsvFormat(), description="how the CSV is written")
    nulls: tuple[str, ...] = Field(("",), description="words that mean 'not answered', after trimming")
    max_quarantined: float = Field(0.05, ge=0, le=1, description="largest share of quarantined rows in a good file")
    fields: tuple[LeadField, ...] = Field(min_length=4, description="every column of the CSV")
    feature_sets: dict[str, tuple[str, ...]] = Field({}, description="named lists of feature fields")
    slice_by: tuple[str, ...] = Field((), description="fields by whose values a model is also measured")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # Spark does not tell columns apart by case; headers are compared without the spaces around them.
        names, sources = [f.name.lower() for f in self.fields], [f.source.strip() for f in self.fields]
        for what, values in (("name", names), ("source", sources)):
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"two fields share the {what} {', '.join(map(repr, twice))}")
        for kind in (Kind.ID, Kind.LABEL, Kind.ORDER):
            found = [f.name for f in self.fields if f.kind is kind]
            if len(found) != 1:
                raise ValueError(f"exactly one field must be of kind {kind}; found {found or 'none'}")
        hidden = {*self.label.true_words, *self.label.false_words} & set(self.nulls)
        if hidden:
            raise ValueError(f"{', '.join(map(repr, sorted(hidden)))} cannot be both a word of the label and a null")
        usable = {f.name for f in self.features}
        sliceable = [f.name for f in self.features if f.has_slices]
        unsliced = [n for n in self.slice_by if n not in sliceable]
        if unsliced or len(set(self.slice_by)) != len(self.slice_by):
            raise ValueError(f"slice_by must list distinct category fields, or numbers in buckets; wrong: {unsliced}")
        for name, members in self.feature_sets.items():
            wrong = [m for m in members if m not in usable]
            if name == AVAILABLE:
                raise ValueError(f"the feature set {AVAILABLE!r} follows from score_at and cannot be written by hand")
            if wrong or not members or len(set(members)) != len(members):
                raise ValueError(f"feature set {name!r} must list distinct numeric or category fields; wrong: {wrong}")
        return self

    def only(self, kind: Kind) -> LeadField:
        """The single field of a kind that occurs once (id, label, order)."""
        return next(f for f in self.fields if f.kind is kind)

    @property
    def id(self) -> LeadField:
        """The field that names a lead."""
        return self.only(Kind.ID)

    @property
    def label(self) -> LeadField:
        """The field to predict: 1 converted, 0 not."""
        return self.only(Kind.LABEL)

    @property
    def order(self) -> LeadField:
        """The field that rises with time."""
        return self.only(Kind.ORDER)

    @property
    def features(self) -> tuple[LeadField, ...]:
        """Every numeric and category field, in the contract's order."""
        return tuple(f for f in self.fields if f.kind in (Kind.NUMERIC, Kind.CATEGORY))

    @property
    def kept(self) -> tuple[LeadField, ...]:
        """Every field that prepared leads carry: all but the ignored ones."""
        return tuple(f for f in self.fields if f.kind is not Kind.IGNORED)

    @property
    def sliced(self) -> tuple[LeadField, ...]:
        """The fields of `slice_by` in its order, then the protected ones that it leaves out."""
        by_name = {f.name: f for f in self.features}
        protected = [f.name for f in self.features if f.protected]
        return tuple(by_name[name] for name in dict.fromkeys([*self.slice_by, *protected]))

    @property
    def feature_set_names(self) -> tuple[str, ...]:
        """The names a feature set can be asked for by."""
        return (AVAILABLE, *self.feature_sets)

    def feature_set(self, name: str) -> tuple[LeadField, ...]:
        """Fields of a named feature set; UnknownFeatureSet lists the names that exist."""
        if name == AVAILABLE:
            return tuple(f for f in self.features if f.known_at <= self.score_at)
        if name not in self.feature_sets:
            raise UnknownFeatureSet(
                f"the contract {self.name!r} has no feature set {name!r}; it has {', '.join(self.feature_set_names)}. "
                f"Choose one of these, or add {name!r} under feature_sets in the contract."
            )
        by_name = {f.name: f for f in self.features}
        return tuple(by_name[member] for member in self.feature_sets[name])

    def late_fields(self, names: list[str] | tuple[str, ...]) -> list[str]:
        """Those of the named fields that are known only after `score_at`, in the contract's order."""
        return [f.name for f in self.fields if f.name in set(names) and f.known_at > self.score_at]

    def digest(self) -> str:
        """SHA-256 (first 16 hex digits) of the contract's content; comments and layout do not count."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]
