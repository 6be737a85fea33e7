//! Whole-engine tests: each starts an engine of its own and talks to it as its users do.

mod docker_compat;
mod fault;
mod lifecycle;
