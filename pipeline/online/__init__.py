"""Online learning: span after span of logs into the served model."""
