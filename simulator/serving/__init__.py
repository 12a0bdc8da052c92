"""What happens when: workers, KV pools, routers and clients on the clock."""
