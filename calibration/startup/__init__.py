"""Start-up lines of servers: what weights and KV caches take, beside what is computed here."""
