pub fn config(url: &str) -> engine_core::record::ServerlessConfig {
    engine_core::record::ServerlessConfig {
        url: url.to_string(),
        headers: Vec::new(),
        request_lifespan_s: 3_600,
        drain_grace_period_s: 1_800,
        max_concurrent_actors: 1_000,
        metadata_poll_interval_ms: None,
        slots_per_runner: 1,
        min_runners: 0,
        max_runners: 1_000,
        runners_margin: 0,
    }
}
