//! Tracing, metrics, the audit log, the event bus, and their names.
