"""Session trees on one or more SKUs: AgentX's chart, predicted."""
