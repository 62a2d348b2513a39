"""What keeps a scoring query running: the lease of its checkpoint, hot reload, health, metrics and its log."""
