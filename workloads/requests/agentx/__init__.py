"""AgentX: recorded or generated coding-agent sessions, as trees of requests."""
