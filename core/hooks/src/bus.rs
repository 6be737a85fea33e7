//! Ordered dispatch with deadlines.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sheave_plugin::hook as plugin;
use sheave_types::{Action, Result};
use tracing::{debug, warn};

use crate::{HookError, Operation, Outcome, Payload, Verdict};

/// A hook plugin as the bus calls it. The methods are those of `sheave_plugin::hook::Driver`.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Its name, for messages and the audit log.
    fn name(&self) -> &str;
    /// The actions it wants. Called once, when the bus is made.
    ///
    /// # Errors
    /// Those of the plugin and of its carrier.
    async fn subscriptions(&self) -> Result<Vec<String>>;
    /// Asked before an operation.
    ///
    /// # Errors
    /// Those of the plugin and of its carrier.
    async fn before(&self, operation: plugin::Operation) -> Result<Verdict>;
    /// Told after an operation.
    ///
    /// # Errors
    /// Those of the plugin and of its carrier; they are logged.
    async fn after(&self, operation: plugin::Operation, outcome: plugin::Outcome) -> Result<()>;
    /// Asked before a process starts, with its runtime spec.
    ///
    /// # Errors
    /// Those of the plugin and of its carrier.
    async fn spec(&self, operation: plugin::Operation, spec: String) -> Result<Verdict>;
}

/// A hook with what the operator says about it (`[[hooks]]` of the configuration).
pub struct Configured {
    /// The hook.
    pub hook: Arc<dyn Hook>,
    /// Whether an operation is denied while it is away.
    pub mandatory: bool,
    /// How long one call may take.
    pub deadline: Duration,
}

/// What one hook said about one operation: `allow`, `deny`, `amend`, `unavailable`.
pub use sheave_telemetry::audit::Verdict as Ruling;

struct Entry {
    configured: Configured,
    wants: Mask,
}

/// One bit an action.
type Mask = u128;

const _: () = assert!(Action::ALL.len() <= Mask::BITS as usize, "more actions than bits");

fn bit(action: Action) -> Mask {
    1 << (action as u32)
}

/// The hooks of an engine, in order.
#[derive(Default)]
pub struct HookBus {
    entries: Vec<Entry>,
    wanted: Mask,
}

impl HookBus {
    /// Makes the bus and asks each hook for its subscriptions.
    ///
    /// A mandatory hook that does not answer is taken to want everything, so that it denies until it is back.
    pub async fn new(hooks: Vec<Configured>) -> Self {
        let mut bus = Self::default();
        for configured in hooks {
            let wants = subscriptions(&configured).await;
            bus.wanted |= wants;
            bus.entries.push(Entry { configured, wants });
        }
        bus
    }

    /// Whether any hook subscribes to this action.
    pub fn wants(&self, action: Action) -> bool {
        self.wanted & bit(action) != 0
    }

    /// Asks the hooks. On `Ok`, `payload` holds what is to run; `rulings` tells who said what in either case.
    ///
    /// # Errors
    /// `denied` with the hook's name and reason.
    pub async fn before(
        &self,
        operation: &Operation,
        payload: &mut dyn Payload,
        rulings: &mut Vec<Ruling>,
    ) -> Result<()> {
        if !self.wants(operation.action) {
            return Ok(());
        }
        for Configured { hook, mandatory, deadline } in self.subscribed(operation.action) {
            let call = hook.before(operation.with_body(payload.to_json()?));
            let verdict = settle(hook.name(), *mandatory, within(*deadline, call).await, rulings)?;
            if let Verdict::Amend(json) = verdict {
                payload.replace(&json).map_err(|e| amendment(hook.name(), e.message()))?;
            }
        }
        Ok(())
    }

    /// Tells the hooks how an operation ended, on a task of its own.
    pub fn after(self: &Arc<Self>, operation: Operation, outcome: Outcome) {
        if !self.wants(operation.action) {
            return;
        }
        let bus = Arc::clone(self);
        tokio::spawn(async move {
            for Configured { hook, deadline, .. } in bus.subscribed(operation.action) {
                let outcome = plugin::Outcome {
                    status: outcome.status,
                    message: outcome.message.clone(),
                    object: outcome.object.clone(),
                };
                let call = hook.after(operation.with_body(String::new()), outcome);
                if let Err(error) = within(*deadline, call).await {
                    warn!(hook = hook.name(), action = %operation.action, %error, "after");
                }
            }
        });
    }

    /// Shows the hooks the runtime spec of a process about to start and returns the one to use.
    ///
    /// Asked are those who subscribe to `container.start` (`exec.start` for execs), whatever led to the start: a restart
    /// and a restart policy start a container too.
    ///
    /// # Errors
    /// `denied` with the hook's name and reason.
    pub async fn spec(&self, operation: &Operation, spec: String) -> Result<String> {
        let action = match operation.action {
            Action::ExecStart | Action::ExecCreate => Action::ExecStart,
            _ => Action::ContainerStart,
        };
        let mut spec = spec;
        for Configured { hook, mandatory, deadline } in self.subscribed(action) {
            let call = hook.spec(operation.with_body(String::new()), spec.clone());
            match settle(hook.name(), *mandatory, within(*deadline, call).await, &mut Vec::new())? {
                Verdict::Amend(json) => {
                    let amended: serde_json::Value =
                        serde_json::from_str(&json).map_err(|e| amendment(hook.name(), &e.to_string()))?;
                    spec = amended.to_string();
                }
                Verdict::Allow | Verdict::Deny(_) => {}
            }
        }
        Ok(spec)
    }

    fn subscribed(&self, action: Action) -> impl Iterator<Item = &Configured> {
        self.entries.iter().filter(move |e| e.wants & bit(action) != 0).map(|e| &e.configured)
    }
}

async fn subscriptions(configured: &Configured) -> Mask {
    match within(configured.deadline, configured.hook.subscriptions()).await {
        Ok(names) => {
            debug!(hook = configured.hook.name(), ?names, "subscriptions");
            let all = Action::ALL.iter().filter(|a| names.iter().any(|n| a.matches(n)));
            all.fold(0, |mask, action| mask | bit(*action))
        }
        Err(error) => {
            warn!(hook = configured.hook.name(), mandatory = configured.mandatory, %error, "no subscriptions");
            if configured.mandatory { Mask::MAX } else { 0 }
        }
    }
}

/// A call under its deadline; the error is what to tell about it.
async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer within {deadline:?}")),
    }
}

/// Turns the answer of one hook into the way on: a denial, or a failure of a mandatory hook, is an error.
fn settle(
    hook: &str,
    mandatory: bool,
    answer: Result<Verdict, String>,
    rulings: &mut Vec<Ruling>,
) -> Result<Verdict, HookError> {
    let mut rule = |verdict, reason: &str| rulings.push(Ruling { hook: hook.into(), verdict, reason: reason.into() });
    match answer {
        Ok(Verdict::Deny(reason)) => {
            rule("deny", &reason);
            Err(HookError::Denied { hook: hook.into(), reason })
        }
        Ok(verdict) => {
            rule(if verdict == Verdict::Allow { "allow" } else { "amend" }, "");
            Ok(verdict)
        }
        Err(reason) => {
            rule("unavailable", &reason);
            warn!(hook, mandatory, reason, "hook failed");
            if mandatory { Err(HookError::Unavailable { hook: hook.into(), reason }) } else { Ok(Verdict::Allow) }
        }
    }
}

fn amendment(hook: &str, reason: &str) -> HookError {
    HookError::Amendment { hook: hook.into(), reason: reason.into() }
}
