//! What clients ask of containers, in terms of their drivers.

pub mod attach;
pub mod control;
pub mod create;
pub mod exec;
pub mod inspect;
pub mod logs;
pub mod network;
pub mod prune;
pub mod top;
