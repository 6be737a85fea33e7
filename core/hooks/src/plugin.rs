//! Hook plugins of the plugin host on the bus.

use async_trait::async_trait;
use sheave_host::HookPlugin;
use sheave_plugin::hook as plugin;
use sheave_types::Result;

use crate::{Hook, Verdict};

#[async_trait]
impl Hook for HookPlugin {
    fn name(&self) -> &str {
        HookPlugin::name(self)
    }

    async fn subscriptions(&self) -> Result<Vec<String>> {
        HookPlugin::subscriptions(self).await
    }

    async fn before(&self, operation: plugin::Operation) -> Result<Verdict> {
        HookPlugin::before(self, operation).await
    }

    async fn after(&self, operation: plugin::Operation, outcome: plugin::Outcome) -> Result<()> {
        HookPlugin::after(self, operation, outcome).await
    }

    async fn spec(&self, operation: plugin::Operation, spec: String) -> Result<Verdict> {
        HookPlugin::spec(self, operation, spec).await
    }
}
