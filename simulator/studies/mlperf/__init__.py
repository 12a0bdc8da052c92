"""MLPerf Inference's language benchmarks on a system: Offline, Server, Interactive."""
