"""One thin module per MLproject entry point, and the session, settings and tracking they share."""
