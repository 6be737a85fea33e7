//! Containers: state, set-up, exec, logs, recovery.
