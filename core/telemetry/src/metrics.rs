//! Metrics in the Prometheus text format.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    action: &'static str,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    plugin: String,
    method: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// The metrics of an engine.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    operations: Family<OperationLabels, Counter>,
    operation_seconds: Family<ActionLabels, Histogram>,
    plugin_calls: Family<CallLabels, Counter>,
    plugin_seconds: Family<CallLabels, Histogram>,
    containers: Family<StateLabels, Gauge>,
}

fn seconds() -> Histogram {
    // 20 microseconds to about 80 seconds.
    Histogram::new(exponential_buckets(0.000_02, 4.0, 12))
}

impl Default for Metrics {
    fn default() -> Self {
        let operations = Family::default();
        let operation_seconds = Family::new_with_constructor(seconds as fn() -> Histogram);
        let plugin_calls = Family::default();
        let plugin_seconds = Family::new_with_constructor(seconds as fn() -> Histogram);
        let containers = Family::default();
        let mut registry = Registry::with_prefix("sheave");
        registry.register("operations", "Operations by action and HTTP status", operations.clone());
        let help = "Time until an operation's answer begins";
        registry.register_with_unit("operation", help, Unit::Seconds, operation_seconds.clone());
        registry.register("plugin_calls", "Calls into plugins by outcome", plugin_calls.clone());
        registry.register_with_unit("plugin_call", "Time of calls into plugins", Unit::Seconds, plugin_seconds.clone());
        registry.register("containers", "Containers by state", containers.clone());
        Self { registry, operations, operation_seconds, plugin_calls, plugin_seconds, containers }
    }
}

impl Metrics {
    /// Counts an operation.
    pub fn operation(&self, action: &'static str, status: u16, time: Duration) {
        self.operations.get_or_create(&OperationLabels { action, status: status.into() }).inc();
        self.operation_seconds.get_or_create(&ActionLabels { action }).observe(time.as_secs_f64());
    }

    /// Counts a call into a plugin; `outcome` is `ok`, an error kind, or `panic`.
    pub fn plugin_call(&self, plugin: &str, method: &'static str, outcome: &'static str, time: Duration) {
        let labels = CallLabels { plugin: plugin.to_owned(), method, outcome };
        self.plugin_calls.get_or_create(&labels).inc();
        self.plugin_seconds.get_or_create(&labels).observe(time.as_secs_f64());
    }

    /// Sets the number of containers in a state.
    pub fn containers(&self, state: &'static str, count: usize) {
        self.containers.get_or_create(&StateLabels { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Everything in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes() {
        let metrics = Metrics::default();
        metrics.operation("container.create", 201, Duration::from_millis(2));
        metrics.plugin_call("storage-vfs", "prepare", "ok", Duration::from_micros(30));
        metrics.containers("running", 3);
        let text = metrics.encode();
        for part in [
            "sheave_operations_total{action=\"container.create\",status=\"201\"} 1",
            "sheave_containers{state=\"running\"} 3",
            "sheave_plugin_call_seconds_count{plugin=\"storage-vfs\",method=\"prepare\",outcome=\"ok\"} 1",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
