"""Hot leads to a CRM: an HTTP POST per event, at least once, and a dead letter for what was not taken."""

import threading
from dataclasses import dataclass

from pydantic import BaseModel, Field
from pyspark.sql import DataFrame

from serving.dead_letters import DeadLetters

TOKEN_VARIABLE = "LEADS_WEBHOOK_TOKEN"


class WebhookOptions(BaseModel, frozen=True, extra="forbid"):
    """Where hot leads are posted to. A bearer token is read from LEADS_WEBHOOK_TOKEN and never held here."""

    url: str = Field(min_length=1, description="https address, or http on this machine")
    hot: float = Field(70, ge=0, le=100, description="smallest score of a lead that is handed on")


@dataclass
class WebhookSink:
    """POSTs every scored event at or above the threshold, with the header Idempotency-Key = event id."""

    options: WebhookOptions
    undelivered: DeadLetters
    query: str
    stop: threading.Event | None = None

    def write(self, batch: DataFrame, number: int) -> int:
        """Hand on the hot leads of batch `number`; how many were taken."""
        raise NotImplementedError
