//! Address pools and addresses. Pure: what is in use is told by the caller.

mod addresses;
mod pools;
mod prefix;

pub(crate) use addresses::{Range, next_free};
pub(crate) use pools::choose_pool;
pub use prefix::Prefix;
