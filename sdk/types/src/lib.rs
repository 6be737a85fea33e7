//! The vocabulary that every part of Sheave shares: ids, digests, references, platforms, actions, error kinds. No I/O.

mod action;
mod digest;
mod error;
mod id;
mod platform;
mod reference;

pub use action::Action;
pub use digest::{Digest, DigestError, Hasher};
pub use error::{Error, ErrorKind, Kinded, Result};
pub use id::{Id, IdError};
pub use platform::Platform;
pub use reference::{Reference, ReferenceError};
