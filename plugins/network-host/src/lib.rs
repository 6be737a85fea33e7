//! The host's own network namespace.
