"""Public AgentX runs beside predictions of them."""
