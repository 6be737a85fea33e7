//! What the hook bus can answer instead of letting an operation pass.

use sheave_types::{ErrorKind, Kinded};

/// Why an operation does not go on, or a hook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// A hook said no.
    #[error("denied by {hook}: {reason}")]
    Denied {
        /// The hook's name.
        hook: String,
        /// Its reason.
        reason: String,
    },
    /// A mandatory hook did not answer, so the operation is denied.
    #[error("denied: the mandatory hook {hook} is not available: {reason}")]
    Unavailable {
        /// The hook's name.
        hook: String,
        /// What happened to it.
        reason: String,
    },
    /// What a hook put in place of the operation is not one.
    #[error("denied: the hook {hook} amended the operation to something that is not valid: {reason}")]
    Amendment {
        /// The hook's name.
        hook: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Kinded for HookError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Denied
    }
}
